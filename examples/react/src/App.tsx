import type { EngineChoice } from "commonweight";
import { useTraining } from "./useTraining.ts";

interface AppProps {
  /** The session's link. */
  readonly session: string;
  readonly engine: EngineChoice;
}

export function App({ session, engine }: AppProps) {
  const { handle, status, progress, summary, error, join, leave } = useTraining(session);
  return (
    <main>
      <h1>{handle?.session.title ?? "Help to train a network"}</h1>
      {handle === null ? (
        <button type="button" onClick={() => join({ engine })} disabled={status === "joining"}>
          Take part
        </button>
      ) : (
        <button type="button" onClick={leave}>
          Leave
        </button>
      )}
      {progress !== null && (
        <p>
          step {progress.step} of {progress.totalSteps}, loss {progress.loss?.toPrecision(3) ?? "–"}
        </p>
      )}
      <p role="status">
        {error?.message}
        {summary !== null && `${summary.outcome}: ${summary.contributed.samples} samples came from here`}
      </p>
    </main>
  );
}
