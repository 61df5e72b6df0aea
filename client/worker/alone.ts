/** The SDK's worker for those whose WASM engine has one thread: this one. */

import { ownThread } from "../engine/onnx/own-thread.ts";
import { serveVolunteer } from "./serve.ts";

serveVolunteer(ownThread);
