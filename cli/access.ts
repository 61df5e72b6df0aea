/** Which coordinator a command talks to, with which secret, and about which session. */

import { CoordinatorApi } from "./api.ts";
import { parseSession } from "./arguments.ts";
import { DEFAULT_PORT } from "./coordinator.ts";
import { CliError } from "./errors.ts";
import { readState } from "./state.ts";

export interface AccessOptions {
  readonly server?: string | undefined;
  /** State folder of a coordinator on this machine. */
  readonly data: string;
}

const LOOPBACK = /^http:\/\/(?:localhost|127(?:\.\d+){3}|\[::1\]):(\d+)\/?$/;

/**
 * The coordinator at `server`, or else the one on this machine. The secret is that of the environment's
 * COMMONWEIGHT_ADMIN_SECRET; without it, the state folder's, which is only ever sent to the folder's own coordinator; without
 * either, the token of an invitation.
 */
export function openApi({ server, data }: AccessOptions, token?: string): CoordinatorApi {
  const state = readState(data);
  const url = server ?? `http://127.0.0.1:${state?.port ?? DEFAULT_PORT}`;
  const isOwn = state !== null && Number(LOOPBACK.exec(url)?.[1]) === state.port;
  const given = process.env.COMMONWEIGHT_ADMIN_SECRET;
  return new CoordinatorApi(url, given || (isOwn ? state.secret : undefined) || token);
}

/**
 * The session that a link or an id names, and the coordinator that has it; without one, the coordinator's newest. Throws
 * CliError for what is no session, and where there is none yet.
 */
export async function openSession(
  link: string | undefined,
  options: AccessOptions,
): Promise<{ readonly api: CoordinatorApi; readonly id: string }> {
  if (link !== undefined) {
    const { server, id, token } = parseSession(link);
    return { api: openApi({ ...options, server: server ?? options.server }, token), id };
  }
  const api = openApi(options);
  const newest = (await api.listSessions()).sessions[0];
  if (newest === undefined) throw new CliError(`${api.server} has no session yet`);
  return { api, id: newest.id };
}
