/**
 * Capability tokens: who holds one may do what it names, in the one session that it names, until it expires or is revoked.
 * They are JSON Web Tokens signed with HS256. The key is derived from the deployment's ADMIN_SECRET by HKDF: nothing more has to be
 * set or kept, the secret itself never signs, and another secret voids every token at once.
 *
 * Signature, expiry, session and capability are checked here, without waking the session's object. What only the object
 * knows is the session's generation: revoking raises it, and a token of an earlier one is void.
 */

import { errors, jwtVerify, SignJWT } from "jose";
import { askAgain } from "../coordinator/session/visitor.ts";
import { allows, CAPABILITIES, type Capability } from "../shared/session/access.ts";
import { HttpError } from "./errors.ts";

const ALGORITHM = "HS256";
const TYPE = "commonweight";
/** Names what the derived key is for: a key for anything else would be another one. */
const PURPOSE = "commonweight capability tokens, 1";
/** Longer than any that is made here; what is longer is not even decoded. */
const MOST_CHARACTERS = 600;

const encoder = new TextEncoder();

export interface Grant {
  readonly capability: Capability;
  /** Of the session when the token was made; null for the admin secret itself, which is not revoked. */
  readonly generation: number | null;
  /** The one identity that it lets in, where somebody passed a check for it; null where it lets in anybody. */
  readonly client: string | null;
}

/** The last secret's key: deriving costs more than verifying. */
let derived: { readonly secret: string; readonly key: Promise<CryptoKey> } | null = null;

async function derive(secret: string): Promise<CryptoKey> {
  const material = await crypto.subtle.importKey("raw", encoder.encode(secret), "HKDF", false, ["deriveKey"]);
  const { salt, info } = { salt: new Uint8Array(0), info: encoder.encode(PURPOSE) };
  return crypto.subtle.deriveKey(
    { name: "HKDF", hash: "SHA-256", salt, info },
    material,
    { name: "HMAC", hash: "SHA-256", length: 256 },
    false,
    ["sign", "verify"],
  );
}

function keyOf(secret: string): Promise<CryptoKey> {
  if (derived?.secret !== secret) derived = { secret, key: derive(secret) };
  return derived.key;
}

export interface Terms {
  readonly session: string;
  readonly capability: Capability;
  readonly generation: number;
  /** Seconds since 1970. */
  readonly expires: number;
  /** Left out where it is for anybody. */
  readonly client?: string;
}

export async function signToken(secret: string, terms: Terms): Promise<string> {
  const { session, capability, generation, expires, client } = terms;
  return new SignJWT({ cap: capability, gen: generation, ...(client === undefined ? {} : { sub: client }) })
    .setProtectedHeader({ alg: ALGORITHM, typ: TYPE })
    .setAudience(session)
    .setExpirationTime(expires)
    .sign(await keyOf(secret));
}

const forged = (): HttpError =>
  new HttpError(401, "token-invalid", "this token was not made by this coordinator, or its secret has changed");

/**
 * What a token allows in a session. Throws HttpError 401 `token-invalid` or `token-expired`, 403 `token-session` or
 * `token-capability`.
 */
export async function readToken(secret: string, token: string, session: string, wanted: Capability): Promise<Grant> {
  if (token.length > MOST_CHARACTERS) throw forged();
  const payload = await verify(secret, token, session);
  const capability = CAPABILITIES.find((name) => name === payload.cap);
  const generation = payload.gen;
  if (capability === undefined || typeof generation !== "number") throw forged();
  if (payload.aud !== session) throw new HttpError(403, "token-session", "this token is for another session");
  if (!allows(capability, wanted)) {
    throw new HttpError(403, "token-capability", `this token allows to ${capability}, not to ${wanted}`);
  }
  return { capability, generation, client: payload.sub ?? null };
}

async function verify(secret: string, token: string, session: string) {
  try {
    const options = { algorithms: [ALGORITHM], typ: TYPE, requiredClaims: ["exp", "aud"] };
    return (await jwtVerify(token, await keyOf(secret), options)).payload;
  } catch (error) {
    if (error instanceof errors.JWTExpired) {
      throw new HttpError(401, "token-expired", `this token has expired: ${askAgain(session)}`);
    }
    if (error instanceof errors.JOSEError || error instanceof TypeError) throw forged();
    throw error;
  }
}
