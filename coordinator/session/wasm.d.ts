/** workerd gives a module for an imported `.wasm`: Node gives an instance, so only this shell imports it. */
declare module "*.wasm" {
  const module: WebAssembly.Module;
  export default module;
}
