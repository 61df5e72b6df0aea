/**
 * SQLite as a Durable Object has it, over Node's own: writes of one moment become durable together, a little later, and whoever
 * dies before that leaves nothing of them. Every write may be the last.
 */

import { DatabaseSync, type SQLInputValue, type StatementSync } from "node:sqlite";

type Value = SqlStorageValue | Uint8Array;

/** What the platform hears of. */
export interface DatabaseEvents {
  /** Before each write; throws if the object dies at it. */
  write(): void;
}

const READS = /^\s*SELECT\b/i;

export class Database {
  readonly #sqlite = new DatabaseSync(":memory:");
  readonly #statements = new Map<string, StatementSync>();
  readonly #events: DatabaseEvents;
  /** A mutation: what was written of a transaction stays although the rest never was. */
  readonly #isTorn: boolean;
  #isOpen = false;

  constructor(events: DatabaseEvents, isTorn: boolean) {
    this.#events = events;
    this.#isTorn = isTorn;
  }

  /** Whether something written is not durable yet. */
  get isOpen(): boolean {
    return this.#isOpen;
  }

  exec<Row extends Record<string, SqlStorageValue>>(query: string, ...bindings: Value[]): SqlStorageCursor<Row> {
    const isWrite = !READS.test(query);
    if (isWrite) {
      this.begin();
      this.#events.write();
    }
    let statement = this.#statements.get(query);
    if (statement === undefined) {
      statement = this.#sqlite.prepare(query);
      this.#statements.set(query, statement);
    }
    const rows = statement.all(...bindings.map(toSqlite)) as Record<string, unknown>[];
    return cursor<Row>(rows.map(fromSqlite) as Row[], isWrite);
  }

  /** What is written from here on becomes durable together. */
  begin(): void {
    if (this.#isOpen) return;
    this.#isOpen = true;
    if (!this.#isTorn) this.#sqlite.exec("BEGIN");
  }

  transactionSync<Result>(closure: () => Result): Result {
    this.begin();
    if (this.#isTorn) return closure();
    this.#sqlite.exec("SAVEPOINT closure");
    try {
      const result = closure();
      this.#sqlite.exec("RELEASE closure");
      return result;
    } catch (error) {
      // Whoever died has rolled everything back.
      if (this.#isOpen) this.#sqlite.exec("ROLLBACK TO closure; RELEASE closure");
      throw error;
    }
  }

  commit(): void {
    if (!this.#isOpen) return;
    this.#isOpen = false;
    if (!this.#isTorn) this.#sqlite.exec("COMMIT");
  }

  rollBack(): void {
    if (!this.#isOpen) return;
    this.#isOpen = false;
    if (!this.#isTorn) this.#sqlite.exec("ROLLBACK");
  }

  close(): void {
    this.rollBack();
    this.#sqlite.close();
  }
}

const toSqlite = (value: Value): SQLInputValue => (value instanceof ArrayBuffer ? new Uint8Array(value) : value);

function fromSqlite(row: Record<string, unknown>): Record<string, unknown> {
  for (const [name, value] of Object.entries(row)) {
    if (value instanceof Uint8Array) row[name] = value.slice().buffer;
  }
  return row;
}

function cursor<Row extends Record<string, SqlStorageValue>>(rows: Row[], isWrite: boolean): SqlStorageCursor<Row> {
  const made = {
    toArray: () => rows,
    one: () => {
      const [row] = rows;
      if (row === undefined || rows.length !== 1) throw new Error(`expected one row, got ${rows.length}`);
      return row;
    },
    [Symbol.iterator]: () => rows[Symbol.iterator](),
    rowsRead: isWrite ? 0 : rows.length,
    rowsWritten: isWrite ? 1 : 0,
  };
  return made as unknown as SqlStorageCursor<Row>;
}
