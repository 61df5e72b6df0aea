/** Source text of the ONNX pool's worker with onnxruntime-web, bundled; made by scripts/build-worker.ts. */
declare const source: string;
export default source;
