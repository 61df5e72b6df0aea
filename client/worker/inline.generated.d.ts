/** Source text of the volunteer's worker (client/worker/browser.ts, bundled); made by scripts/build-worker.ts. */
declare const source: string;
export default source;
