/** Source text of the volunteer's worker with onnxruntime's code (client/worker/alone.ts, bundled); made by scripts/build-worker.ts. */
declare const source: string;
export default source;
