/** Forged credentials against a real coordinator: keys of an identity that is somebody else's, and tokens of a private session. */

import { SignJWT } from "jose";
import type { CoordinatorApi } from "../../cli/api.ts";
import type { SessionDefinition } from "../../shared/session/definition.ts";
import { Guest } from "./guest.ts";
import type { Dice } from "./wire.ts";

interface Forgers {
  readonly forged: number;
  /** So many at a time. */
  readonly parallel: number;
  readonly dice: Dice;
}

const HEX = "0123456789abcdef";
const BASE64URL = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/** Another text: one to three letters before the last `kept` ones are others of the alphabet. */
function change(text: string, alphabet: string, kept: number, dice: Dice): string {
  const letters = [...text];
  for (let times = 1 + dice.below(3); times > 0; times--) {
    const at = dice.below(letters.length - kept);
    const now = alphabet.indexOf(letters[at] ?? "");
    letters[at] = alphabet[(now + 1 + dice.below(alphabet.length - 1)) % alphabet.length] ?? "";
  }
  const changed = letters.join("");
  // The same letter may have been changed there and back.
  return changed === text ? change(text, alphabet, kept, dice) : changed;
}

/** Does it so often, several at a time; answers how often it came true. */
async function count({ forged, parallel }: Forgers, act: (attempt: number) => Promise<boolean>): Promise<number> {
  let [next, accepted] = [0, 0];
  const one = async (): Promise<void> => {
    while (next < forged) if (await act(next++)) accepted += 1;
  };
  await Promise.all(Array.from({ length: parallel }, one));
  return accepted;
}

/** Tries to take over the identity of a client that is connected; answers how often that worked. */
export async function forgeKeys(url: string, forgers: Forgers): Promise<number> {
  const owner = new Guest(url);
  await owner.open();
  owner.send({ type: "hello", engine: "native", device: "owner" });
  const welcome = await owner.of("welcome");
  if (welcome === null) throw new Error("the owner of an identity was not let in");
  const { client, resumeKey } = welcome;
  const accepted = await count(forgers, async () => {
    const forgery = change(resumeKey, HEX, 0, forgers.dice);
    const thief = new Guest(url);
    await thief.open();
    thief.send({ type: "hello", engine: "native", device: "thief", client, resumeKey: forgery });
    for (;;) {
      const heard = await thief.next();
      if (heard.type === "welcome") return true;
      if (heard.type !== "error") continue;
      if (heard.code !== "wrong-resume-key") throw new Error(`a thief was told ${heard.code}: ${heard.message}`);
      thief.close();
      return false;
    }
  });
  if (!owner.isOpen) throw new Error("the owner of an identity lost its socket");
  owner.close();
  return accepted;
}

/** As the coordinator signs, by a key of its own. */
const ofOtherKey = (session: string, expires: number): Promise<string> =>
  new SignJWT({ cap: "observe", gen: 0 })
    .setProtectedHeader({ alg: "HS256", typ: "commonweight" })
    .setAudience(session)
    .setExpirationTime(expires)
    .sign(crypto.getRandomValues(new Uint8Array(32)));

/** Tries to read a private session by tokens that are a good one's with other letters, or signed by another secret. */
export async function forgeTokens(
  api: CoordinatorApi,
  definition: SessionDefinition,
  forgers: Forgers,
): Promise<number> {
  const { id } = await api.createSession({ ...definition, access: { join: "invited", read: "invited" } });
  const { token, expires } = await api.invite(id, "observe", 3_600);
  const read = (shown: string): Promise<Response> =>
    fetch(`${api.server}/api/sessions/${id}`, { headers: { Authorization: `Bearer ${shown}` } });
  const good = await read(token);
  if (!good.ok) throw new Error(`a good token was answered ${good.status}`);
  await good.body?.cancel();
  const accepted = await count(forgers, async (attempt) => {
    // The last letter of a signature has bits that mean nothing: changed alone they are no forgery.
    const forgery = attempt % 4 === 0 ? await ofOtherKey(id, expires) : change(token, BASE64URL, 1, forgers.dice);
    const answer = await read(forgery);
    await answer.body?.cancel();
    if (!answer.ok && answer.status !== 401) throw new Error(`a forged token was answered ${answer.status}`);
    return answer.ok;
  });
  await api.deleteSession(id);
  return accepted;
}
