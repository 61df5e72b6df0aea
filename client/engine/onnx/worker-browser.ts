/** Entry of a browser's pool worker: bundled with onnxruntime-web's module into one file of text (scripts/build-worker.ts). */

import factory from "onnxruntime-web/ort-wasm-simd-threaded.mjs";
import { servePoolWorker } from "./browser.ts";

servePoolWorker(factory);
