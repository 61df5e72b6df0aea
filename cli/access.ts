/** Which coordinator a command talks to, and with which secret. */

import { CoordinatorApi } from "./api.ts";
import { DEFAULT_PORT } from "./coordinator.ts";
import { readState } from "./state.ts";

export interface AccessOptions {
  readonly server?: string | undefined;
  /** State folder of a coordinator on this machine. */
  readonly data: string;
}

const LOOPBACK = /^http:\/\/(?:localhost|127(?:\.\d+){3}|\[::1\]):(\d+)\/?$/;

/**
 * The coordinator at `server`, or else the one on this machine. The secret is that of the environment's
 * COMMONWEIGHT_ADMIN_SECRET; without it, the state folder's, which is only ever sent to the folder's own coordinator.
 */
export function openApi({ server, data }: AccessOptions): CoordinatorApi {
  const state = readState(data);
  const url = server ?? `http://127.0.0.1:${state?.port ?? DEFAULT_PORT}`;
  const isOwn = state !== null && Number(LOOPBACK.exec(url)?.[1]) === state.port;
  const given = process.env.COMMONWEIGHT_ADMIN_SECRET;
  return new CoordinatorApi(url, given || (isOwn ? state.secret : undefined));
}
