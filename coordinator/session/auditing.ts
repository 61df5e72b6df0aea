/** Audits as a session has them: what the round's desk needs of the store, and the evidence of results that are compared. */

import { blockCount } from "../../shared/codec/index.ts";
import { evaluationSums, parameterLength } from "../../shared/graph/parameters.ts";
import { auditsOf } from "../../shared/session/audits.ts";
import type { SessionDefinition } from "../../shared/session/definition.ts";
import {
  type Auditable,
  AuditDesk,
  type Evidence,
  evidenceBytes,
  evidenceOf,
  type Grid,
  NEWCOMER,
} from "../audit/index.ts";
import type { SessionStore } from "../store/store.ts";
import type { Admitted } from "./admission.ts";
import type { Client } from "./client.ts";
import { randomKey, sameHash } from "./identity.ts";
import type { Ledger } from "./ledger.ts";

/** Most memory for the evidence of results that are computed twice. */
const AUDIT_BYTES = 4_000_000;
/** Banned identities of one address block after which it is let in no more. */
const BANS_OF_BLOCK = 8;

export class Auditing {
  readonly desk: AuditDesk;
  readonly #store: SessionStore;
  readonly #ledger: Ledger;
  /** Hash of the resume key of whoever decides disputes. */
  readonly #referee: string | null;
  /** What evidence is made under. */
  readonly #evidenceKey = randomKey();

  /** Null for a session in which nothing is computed twice. Throws Error if there is no memory for evidence. */
  static open(definition: SessionDefinition, store: SessionStore, ledger: Ledger): Auditing | null {
    const audits = auditsOf(definition);
    if (audits === null) return null;
    if (!ledger.take("audits", AUDIT_BYTES)) {
      throw new Error(`audits need ${AUDIT_BYTES} bytes, ${ledger.free} are free`);
    }
    const { graph } = definition;
    const size = evidenceBytes(blockCount(parameterLength(graph)), evaluationSums(graph));
    const most = Math.floor(AUDIT_BYTES / (2 * size));
    const desk = new AuditDesk({ ...audits, key: randomKey(), most });
    return new Auditing(desk, store, ledger, audits.referee ?? null);
  }

  private constructor(desk: AuditDesk, store: SessionStore, ledger: Ledger, referee: string | null) {
    this.desk = desk;
    this.#store = store;
    this.#ledger = ledger;
    this.#referee = referee;
  }

  /** Whether an identity, or whoever comes from an address block, is let in no more. */
  isBanned(id: string, block: string): boolean {
    if (this.#store.standing(id)?.isBanned === true) return true;
    return block !== "" && this.#store.bannedIn(block) >= BANS_OF_BLOCK;
  }

  /** What audits know of a client, for the round. */
  auditable({ id, block, keyHash }: Client): Auditable {
    const isReferee = this.#referee !== null && sameHash(keyHash, this.#referee);
    return { block, standing: this.#store.standing(id) ?? NEWCOMER, isReferee };
  }

  /** Of a result that is compared with somebody else's. `grid` is that of its training step; null for other work. */
  evidence({ engine }: Client, contribution: Admitted, grid: Grid | null): Evidence {
    return evidenceOf(this.#evidenceKey, contribution, grid, engine === "wasm");
  }

  dispose(): void {
    this.#ledger.give("audits", AUDIT_BYTES);
  }
}
