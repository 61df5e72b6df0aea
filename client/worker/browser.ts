/** The SDK's worker, without onnxruntime's code: of those who compute with WebGPU nobody has to load that. */

import { serveVolunteer } from "./serve.ts";

serveVolunteer(null);
