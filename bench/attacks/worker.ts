/** A thread that trains what it is told, one after another. */

import { parentPort } from "node:worker_threads";
import { type Trial, train } from "./trial.ts";

parentPort?.on("message", (trial: Trial) => parentPort?.postMessage(train(trial)));
