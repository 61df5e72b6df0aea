/** SQLite with its rows counted: what a statement read and wrote is known once its cursor was read to the end. */

import type { Meter } from "./meter.ts";

export class MeteredSql {
  readonly #sql: SqlStorage;
  readonly #meter: Meter;
  /** The last statement's cursor, which may not have been read yet. Whoever runs the next one has read it. */
  #open: Pick<SqlStorageCursor<never>, "rowsRead" | "rowsWritten"> | null = null;

  constructor(sql: SqlStorage, meter: Meter) {
    this.#sql = sql;
    this.#meter = meter;
  }

  get databaseSize(): number {
    return this.#sql.databaseSize;
  }

  exec<Row extends Record<string, SqlStorageValue>>(
    query: string,
    ...bindings: (SqlStorageValue | Uint8Array)[]
  ): SqlStorageCursor<Row> {
    this.settle();
    const cursor = this.#sql.exec<Row>(query, ...bindings);
    this.#open = cursor;
    return cursor;
  }

  /** Counts the last statement, which has been read to its end. */
  settle(): void {
    if (this.#open === null) return;
    this.#meter.count("rowsRead", this.#open.rowsRead);
    this.#meter.count("rowsWritten", this.#open.rowsWritten);
    this.#open = null;
  }
}
