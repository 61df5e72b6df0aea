/** The Worker's entry point. */

export { TrainingSession } from "../coordinator/session/session.ts";
export { app as default } from "./app.ts";
