/** Entry of a browser's pool worker: bundled with onnxruntime-web's module into one file of text (scripts/build-worker.ts). */

import { servePoolWorker } from "./browser.ts";
import factory from "./ort.ts";

servePoolWorker(factory);
