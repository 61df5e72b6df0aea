/**
 * A copy of the stored parameters that stays as it is while the training goes on, so that a checkpoint can be read at
 * leisure: made in one transaction, read piece by piece, and at most one at a time.
 */

import type { MeteredSql } from "./metered-sql.ts";

const SLOT = "shelf";

/** A stored part and its bytes. */
export interface ShelvedPart {
  /** As in a checkpoint file, such as `latest.weights`. */
  readonly name: string;
  readonly bytes: number;
  readonly pieces: number;
}

export class Shelf {
  readonly #sql: MeteredSql;

  constructor(sql: MeteredSql) {
    this.#sql = sql;
  }

  /** Copies every slot, and lays further parts beside them. Call inside a transaction. */
  fill(further: Readonly<Record<string, Iterable<Uint8Array>>>): void {
    this.clear();
    this.#sql.exec(
      `INSERT INTO checkpoint (slot, part, piece, data) SELECT '${SLOT}', slot || '.' || part, piece, data FROM checkpoint`,
    );
    for (const [part, pieces] of Object.entries(further)) {
      let piece = 0;
      for (const data of pieces) {
        const insert = "INSERT INTO checkpoint (slot, part, piece, data) VALUES (?, ?, ?, ?)";
        this.#sql.exec(insert, SLOT, part, piece++, data);
      }
    }
  }

  /** What is on it, by name. */
  parts(): ShelvedPart[] {
    return this.#sql
      .exec<{ name: string; bytes: number; pieces: number }>(
        `SELECT part AS name, SUM(LENGTH(data)) AS bytes, COUNT(*) AS pieces FROM checkpoint
         WHERE slot = '${SLOT}' GROUP BY part ORDER BY part`,
      )
      .toArray();
  }

  /** One piece. Throws if it is not there: the shelf was cleared meanwhile. */
  piece(part: string, index: number): Uint8Array {
    const query = `SELECT data FROM checkpoint WHERE slot = '${SLOT}' AND part = ? AND piece = ?`;
    const [row] = this.#sql.exec<{ data: ArrayBuffer }>(query, part, index).toArray();
    if (row === undefined) throw new Error(`piece ${index} of ${part} is no longer on the shelf`);
    return new Uint8Array(row.data);
  }

  clear(): void {
    this.#sql.exec(`DELETE FROM checkpoint WHERE slot = '${SLOT}'`);
  }
}
