/**
 * A hook that takes part in a training session until it is over, `leave` is called, or the component is unmounted. For
 * another session mount another component: `<App key={session} session={session} />`.
 */

import {
  type JoinOptions,
  joinTraining,
  type Progress,
  type Summary,
  type TrainingHandle,
  type VolunteerStatus,
} from "commonweight";
import { useCallback, useEffect, useRef, useState } from "react";

interface State {
  /** Null unless this browser takes part. */
  readonly handle: TrainingHandle | null;
  readonly status: VolunteerStatus | null;
  readonly progress: Progress | null;
  /** How it ended. */
  readonly summary: Summary | null;
  /** Why it came to nothing. */
  readonly error: Error | null;
}

const IDLE: State = { handle: null, status: null, progress: null, summary: null, error: null };

export interface Training extends State {
  /** Call it from a button: nothing computes before. */
  join(options?: Omit<JoinOptions, "signal" | "onEvent">): void;
  leave(): void;
}

export function useTraining(session: string): Training {
  const [state, setState] = useState(IDLE);
  /** While this browser joins or takes part; aborting it leaves. */
  const membership = useRef<AbortController | null>(null);

  const leave = useCallback(() => {
    membership.current?.abort();
    membership.current = null;
    setState(IDLE);
  }, []);

  const join = useCallback<Training["join"]>(
    (options) => {
      if (membership.current !== null) return;
      const controller = new AbortController();
      membership.current = controller;
      setState({ ...IDLE, status: "joining" });
      /** What a part that was left goes on to say is nobody's concern. */
      const update = (change: Partial<State>): void => {
        if (membership.current === controller) setState((current) => ({ ...current, ...change }));
      };
      joinTraining(session, {
        ...options,
        signal: controller.signal,
        onEvent: (event) => {
          if (event.type === "status") update({ status: event.detail.status });
          if (event.type === "progress") update({ progress: event.detail });
        },
      })
        .then((handle) => {
          update({ handle });
          return handle.finished;
        })
        .then(
          (summary) => update({ handle: null, summary }),
          (error: Error) => update({ handle: null, error }),
        )
        .finally(() => {
          if (membership.current === controller) membership.current = null;
        });
    },
    [session],
  );

  useEffect(() => leave, [leave]);

  return { ...state, join, leave };
}
