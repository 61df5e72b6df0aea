/**
 * A real object under attack: workerd as the command line embeds it, real sockets, honest clients that train, and hostile ones beside
 * them. What must hold in the end: the training has the hash that it has without them, nothing forged was accepted, no error inside was
 * logged, the object never started again, and its ledger stayed within its limit.
 */

import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { CoordinatorApi } from "../../cli/api.ts";
import { startCoordinator } from "../../cli/coordinator.ts";
import { openState } from "../../cli/state.ts";
import { magnitudeBits } from "../../shared/codec/index.ts";
import { encodeMessage } from "../../shared/protocol/messages.ts";
import type { SessionDefinition } from "../../shared/session/definition.ts";
import { type Assign, fakeResult, tinySession } from "../workers/made-up.ts";
import { forgeKeys, forgeTokens } from "./credentials.ts";
import { Guest } from "./guest.ts";
import { DECODERS, Dice, mutate } from "./wire.ts";

export interface AttackOptions {
  readonly seed: number;
  /** Hostile frames and messages. */
  readonly hostile: number;
  /** Forged results of each kind, forged resume keys and forged tokens. */
  readonly forged: number;
}

/** Works until the training is over. @param mayWork whether there is anything left to be trained beside */
async function workHonestly(url: string, definition: SessionDefinition, rest: () => number): Promise<void> {
  const guest = new Guest(url);
  await guest.open();
  guest.send({ type: "hello", engine: "native", device: "honest" });
  for (;;) {
    const heard = await guest.next();
    if (heard.type === "closed") return;
    if (heard.type === "error" && heard.code !== "finished") throw new Error(`an honest client was told ${heard.code}`);
    if (heard.type === "welcome" || heard.type === "weights") guest.send({ type: "ready", version: heard.version });
    if (heard.type !== "assign") continue;
    if (rest() > 0) await new Promise((resolve) => setTimeout(resolve, rest()));
    for (const frame of fakeResult(definition, heard)) guest.sendBytes(frame);
  }
}

/** What a member sends next: mutated frames and messages, and true ones at the wrong time. */
function hostileBytes(dice: Dice, definition: SessionDefinition, lease: Assign | null): Uint8Array<ArrayBuffer> {
  const frames = DECODERS.frame?.seeds ?? [];
  const messages = DECODERS["client message"]?.seeds ?? [];
  const seeds = dice.below(2) === 0 ? frames : messages;
  const [one, other] = [seeds[dice.below(seeds.length)], seeds[dice.below(seeds.length)]];
  if (one === undefined || other === undefined) throw new Error("there is nothing to mutate");
  switch (dice.below(10)) {
    case 0:
    case 1:
      return mutate(one, other, dice);
    case 2: {
      // Its own lease's result, of another kind, codec, size or place: what stays a whole result would be believed.
      const [frame] = lease === null ? [] : fakeResult(definition, lease);
      if (frame === undefined) return mutate(one, other, dice);
      const at = [6, 7, 40, 44, 48][dice.below(5)] ?? 6;
      frame[at] = ((frame[at] ?? 0) + 1 + dice.below(255)) & 255;
      return frame;
    }
    case 3:
      return encodeMessage({ type: "ready", version: dice.below(2) });
    case 4:
      return encodeMessage({ type: "capacity", microBatches: dice.below(3) });
    case 5:
      return encodeMessage({
        type: "failed",
        lease: dice.below(2 ** 31),
        code: "x",
        message: "y".repeat(dice.below(200)),
      });
    default: {
      // A whole result of a lease that is not its own: answered, and dropped.
      const [frame] = fakeResult(definition, { ...(lease ?? NO_LEASE), lease: dice.below(2 ** 32), work: "train" });
      return frame ?? mutate(one, other, dice);
    }
  }
}

const NO_LEASE: Assign = { type: "assign", lease: 1, work: "train", step: 0, version: 1, from: 0, to: 1 };
/** Messages of one socket before it is given up, if nothing closed it. */
const BURST = 64;

/** Sends hostile bytes over one socket after another. */
async function attackOnce(url: string, definition: SessionDefinition, dice: Dice, most: number): Promise<number> {
  const guest = new Guest(url);
  await guest.open();
  let lease: Assign | null = null;
  // One in eight does not say hello.
  if (dice.below(8) > 0) {
    guest.send({ type: "hello", engine: "native", device: "hostile" });
    const welcome = await guest.of("welcome");
    if (welcome !== null) guest.send({ type: "ready", version: welcome.version });
    if (dice.below(4) === 0) lease = await Promise.race([guest.of("assign"), soon()]);
  }
  let sent = 0;
  while (sent < most && guest.isOpen) {
    guest.sendBytes(hostileBytes(dice, definition, lease));
    sent += 1;
    // What closed the socket is heard only between two turns.
    if (sent % 4 === 0) await new Promise((resolve) => setImmediate(resolve));
  }
  guest.close();
  return sent;
}

const soon = (): Promise<null> => new Promise((resolve) => setTimeout(() => resolve(null), 200));

/** One frame in the place of a result of this lease. */
type Forge = (definition: SessionDefinition, lease: Assign, number: number) => Uint8Array<ArrayBuffer> | undefined;

const resultOf: Forge = (definition, lease) => fakeResult(definition, lease).next().value ?? undefined;

/** Ways to send a result that must not count. What is answered by a receipt alone goes many times over one socket. */
const FORGERIES = {
  replayed: { atOnce: 50, forge: resultOf },
  "of another session": {
    atOnce: 50,
    forge: (definition, lease, number) =>
      resultOf(definition, { ...lease, lease: (lease.lease + 0x40_0000 + number) >>> 0 }, 0),
  },
  "of a foreign lease": {
    atOnce: 50,
    forge: (definition, lease, number) =>
      resultOf(definition, { ...lease, lease: lease.lease + (number % 2 === 0 ? 1 : -1) }, 0),
  },
  oversized: {
    atOnce: 1,
    forge: (definition, lease) => {
      const frame = resultOf(definition, lease, 0) ?? new Uint8Array(0);
      const longer = new Uint8Array(frame.byteLength + 16);
      longer.set(frame);
      const view = new DataView(longer.buffer);
      for (const at of [44, 48]) view.setUint32(at, view.getUint32(at, true) + 16, true);
      return longer;
    },
  },
  "of a forged weight": {
    atOnce: 1,
    forge: (definition, lease) => fakeResult(definition, lease, { weight: 2 }).next().value ?? undefined,
  },
  "of forged sums": {
    atOnce: 1,
    forge: (definition, lease) => {
      const most = 2 ** magnitudeBits(definition.codec, definition.batchSize / definition.microBatch) - 1;
      return fakeResult(definition, lease, { firstSum: (lease.to - lease.from) * most + 1 }).next().value ?? undefined;
    },
  },
} as const satisfies Readonly<Record<string, { readonly atOnce: number; readonly forge: Forge }>>;

type Forgery = keyof typeof FORGERIES;

interface Forged {
  readonly sent: number;
  readonly accepted: number;
}

/** Sends forged results in the place of the first lease that it is given, at most so many. */
async function forge(url: string, definition: SessionDefinition, kind: Forgery, most: number): Promise<Forged> {
  const guest = new Guest(url);
  await guest.open();
  guest.send({ type: "hello", engine: "native", device: "forger" });
  const welcome = await guest.of("welcome");
  if (welcome === null) throw new Error("a forger was not let in");
  guest.send({ type: "ready", version: welcome.version });
  for (;;) {
    const heard = await guest.next();
    if (heard.type === "closed") return { sent: 0, accepted: 0 };
    if (heard.type === "weights") guest.send({ type: "ready", version: heard.version });
    // Sums are of training alone.
    if (heard.type !== "assign" || (kind === "of forged sums" && heard.work !== "train")) continue;
    // Before it is replayed it is the honest result.
    const honest = kind === "replayed" ? 1 : 0;
    if (honest === 1) for (const frame of fakeResult(definition, heard)) guest.sendBytes(frame);
    for (let number = 0; number < most; number++) {
      const frame = FORGERIES[kind].forge(definition, heard, number);
      if (frame !== undefined) guest.sendBytes(frame);
    }
    let accepted = 0;
    for (let expected = honest + most; expected > 0; expected--) {
      const receipt = await guest.of("receipt");
      if (receipt === null) break;
      if (receipt.accepted) accepted += 1;
    }
    guest.close();
    return { sent: most, accepted: Math.max(0, accepted - honest) };
  }
}

/** Sockets at a time. */
const PARALLEL = 16;

/** Does something so many times, several at once and up to `share` of it at a time; `act` answers how many it did. */
async function repeat(count: number, share: number, act: (most: number) => Promise<number>): Promise<void> {
  let left = count;
  const one = async (): Promise<void> => {
    while (left > 0) {
      const most = Math.min(left, share);
      left -= most;
      const done = await act(most);
      left += most - done;
    }
  };
  await Promise.all(Array.from({ length: PARALLEL }, one));
}

/** Lines of the coordinator's log that tell of an error. */
const errorsIn = (log: string): string[] =>
  readFileSync(log, "utf8")
    .split("\n")
    .filter((line) => /"level":"error"/.test(line));

/** Throws an Error where any of the promises at the top is broken; else says what was done. */
export async function attack({ seed, hostile, forged }: AttackOptions): Promise<string> {
  const folder = mkdtempSync(join(tmpdir(), "commonweight-fuzz-"));
  const state = openState(join(folder, "state"));
  const coordinator = await startCoordinator({ state, port: 0, say: () => {} });
  try {
    const api = new CoordinatorApi(coordinator.url, state.secret);
    // Long enough to outlast the attack on a fast machine; what is left of it then goes at full speed.
    const steps = 60 + Math.ceil(hostile / 100 + forged / 4);
    const tiny = tinySession({ steps });
    const definition: SessionDefinition = {
      ...tiny,
      // As many leases at a time as there are guests.
      batchSize: 96,
      data: { ...tiny.data, samplesPerEpoch: 192 } as SessionDefinition["data"],
      epochs: steps,
    };
    const train = async (during: (url: string) => Promise<void>): Promise<{ id: string; hash: string }> => {
      const { id } = await api.createSession(definition);
      const url = `${coordinator.url.replace("http", "ws")}/api/sessions/${id}/socket`;
      let isUnderAttack = true;
      const honest = Array.from({ length: 3 }, () => workHonestly(url, definition, () => (isUnderAttack ? 60 : 0)));
      await during(url);
      isUnderAttack = false;
      await Promise.all(honest);
      const { result } = await api.readMetrics(id, Number.MAX_SAFE_INTEGER);
      return { id, hash: result?.weightsHash ?? "none" };
    };
    const calm = await train(() => Promise.resolve());
    const dice = new Dice(seed);
    const accepted: Partial<Record<Forgery | "resume keys" | "tokens", number>> = {};
    let atStep = 0;
    const since = performance.now();
    const attacked = await train(async (url) => {
      await repeat(hostile, BURST, (most) => attackOnce(url, definition, dice, most));
      for (const kind of Object.keys(FORGERIES) as Forgery[]) {
        accepted[kind] = 0;
        await repeat(forged, FORGERIES[kind].atOnce, async (most) => {
          const done = await forge(url, definition, kind, most);
          accepted[kind] = (accepted[kind] ?? 0) + done.accepted;
          return done.sent;
        });
      }
      accepted["resume keys"] = 0;
      accepted.tokens = 0;
      const forgers = { forged, parallel: PARALLEL, dice };
      if (forged > 0) accepted["resume keys"] = await forgeKeys(url, forgers);
      if (forged > 0) accepted.tokens = await forgeTokens(api, definition, forgers);
      const id = url.split("/").at(-2) ?? "";
      atStep = (await api.readSession(id)).progress.step;
    });
    const seconds = ((performance.now() - since) / 1000).toFixed(0);
    const { ledger, journal, refusals, tally } = (await api.readDiagnostics(attacked.id)) as unknown as {
      ledger: { peak: number; limit: number };
      journal: readonly { event: string }[];
      refusals: Readonly<Record<string, number>>;
      tally: { messagesIn: number };
    };
    const errors = errorsIn(coordinator.log);
    const faults = [
      ...(errors.length > 0 ? [`${errors.length} errors in the log, the first: ${errors[0]}`] : []),
      ...(attacked.hash === calm.hash
        ? []
        : [`the training ended with ${attacked.hash}, without them with ${calm.hash}`]),
      ...(ledger.peak <= 96_000_000 ? [] : [`${ledger.peak} bytes in the ledger`]),
      ...(journal.some(({ event }) => event === "recovered") ? ["the object started again"] : []),
      ...Object.entries(accepted).flatMap(([kind, count]) =>
        count === 0 ? [] : [`of what was forged (${kind}) ${count} were accepted`],
      ),
      ...(atStep < steps ? [] : ["the training was over before the attack was"]),
    ];
    if (faults.length > 0) throw new Error(`seed ${seed}: ${faults.join("; ")}`);
    const refused = Object.entries(refusals).map(([code, count]) => `${count} ${code}`);
    return [
      `${hostile} hostile frames and messages, ${forged} forged results of each of ${Object.keys(FORGERIES).length} kinds, resume keys and tokens, in ${seconds} s, seed ${seed}:`,
      `  0 errors inside, nothing forged accepted (${Object.keys(accepted).join(", ")})`,
      `  ${tally.messagesIn} messages taken in by the object; closed for cause: ${refused.join(", ") || "none"}`,
      `  at most ${(ledger.peak / 1e6).toFixed(1)} MB by the ledger; step ${atStep} of ${steps} when it ended`,
      `  honest clients: ${attacked.hash.slice(0, 16)}, as without`,
    ].join("\n");
  } finally {
    await coordinator.stop();
    state.release();
    rmSync(folder, { recursive: true, force: true });
  }
}
