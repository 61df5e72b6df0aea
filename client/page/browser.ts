/** What this browser lacks, and what an insecure page costs: said before anybody tries to take part. */

/** The globals that are looked at. */
export interface Surroundings {
  readonly Worker?: unknown;
  readonly WebAssembly?: unknown;
  readonly WebSocket?: unknown;
  readonly BigInt64Array?: unknown;
  readonly Promise: { readonly withResolvers?: unknown };
  readonly isSecureContext?: boolean;
}

/** What taking part needs, by the name that people can search for. */
const NEEDS: Readonly<Record<string, (surroundings: Surroundings) => boolean>> = {
  "web workers": (here) => here.Worker !== undefined,
  WebAssembly: (here) => here.WebAssembly !== undefined,
  WebSocket: (here) => here.WebSocket !== undefined,
  "64-bit integers (BigInt64Array)": (here) => here.BigInt64Array !== undefined,
  "Promise.withResolvers": (here) => here.Promise.withResolvers !== undefined,
};

/** Names of what is missing; empty where everything is there. */
export const missingFeatures = (surroundings: Surroundings): string[] =>
  Object.entries(NEEDS).flatMap(([name, has]) => (has(surroundings) ? [] : [name]));

/** Pages over plain http, except on localhost: no WebGPU, no cache between visits. */
export const isInsecure = ({ isSecureContext }: Surroundings): boolean => isSecureContext === false;
