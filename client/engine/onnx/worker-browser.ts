/** Entry of a browser's pool worker: bundled with onnxruntime-web into one file of text (scripts/build-worker.ts). */

import { servePoolWorker } from "./browser.ts";

servePoolWorker(() => import("onnxruntime-web/wasm"));
