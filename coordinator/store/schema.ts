/**
 * The tables of one session's SQLite database, and the only place where their layout changes. A deploy may run old and
 * new code side by side: code that meets a newer schema than its own refuses to touch it.
 */

/** A log row's place is step × this + piece: more than the largest session's sums take, with the head. */
export const LOG_PIECES = 64;

/** Statements by schema version: entry i takes a database from version i to i + 1. */
const MIGRATIONS: readonly (readonly string[])[] = [
  [
    // What was asked for; written once.
    `CREATE TABLE session (
      id TEXT NOT NULL, definition TEXT NOT NULL, definition_hash TEXT NOT NULL, manifest TEXT, created_at INTEGER NOT NULL
    )`,
    // Where the run is; one row, rewritten in the transaction of every durable event.
    `CREATE TABLE state (
      stage TEXT NOT NULL, status TEXT NOT NULL, reason TEXT NOT NULL,
      step INTEGER NOT NULL, version INTEGER NOT NULL, envelope BLOB NOT NULL,
      checkpoint_step INTEGER NOT NULL, best TEXT, weights_hash TEXT, best_hash TEXT
    )`,
    // How often this object was built from storage: part of every lease's number.
    "CREATE TABLE incarnation (count INTEGER NOT NULL)",
    // `latest` has the weights and what the update rule keeps, by name; `best` has weights.
    `CREATE TABLE checkpoint (
      slot TEXT NOT NULL, part TEXT NOT NULL, piece INTEGER NOT NULL, data BLOB NOT NULL, PRIMARY KEY (slot, part, piece)
    )`,
    // The steps since the checkpoint: piece 0 is the record's head, the others are its sums.
    "CREATE TABLE log (step INTEGER NOT NULL, piece INTEGER NOT NULL, data BLOB NOT NULL, PRIMARY KEY (step, piece))",
    `CREATE TABLE metric (
      work TEXT NOT NULL, step INTEGER NOT NULL, epoch INTEGER NOT NULL, loss REAL, metrics TEXT NOT NULL,
      samples INTEGER NOT NULL, clamped INTEGER NOT NULL, time INTEGER NOT NULL, PRIMARY KEY (work, step)
    ) WITHOUT ROWID`,
    `CREATE TABLE member (
      id TEXT PRIMARY KEY, key_hash TEXT NOT NULL, engine TEXT NOT NULL, device TEXT NOT NULL,
      samples INTEGER NOT NULL, shards INTEGER NOT NULL, seen_at INTEGER NOT NULL
    ) WITHOUT ROWID`,
    "CREATE TABLE journal (time INTEGER NOT NULL, event TEXT NOT NULL, detail TEXT NOT NULL)",
  ],
  // Who computed a step: samples by engine.
  ["ALTER TABLE metric ADD COLUMN engines TEXT NOT NULL DEFAULT '{}'"],
  // What the session used of the platform (store/meter.ts); one row.
  [
    `CREATE TABLE usage (
      requests INTEGER NOT NULL, messages INTEGER NOT NULL, rows_read INTEGER NOT NULL, rows_written INTEGER NOT NULL,
      active_seconds REAL NOT NULL, r2_writes INTEGER NOT NULL, r2_reads INTEGER NOT NULL
    )`,
    "INSERT INTO usage VALUES (0, 0, 0, 0, 0, 0, 0)",
    // Without an index of its own, which is billed as a second row for each one.
    "ALTER TABLE log RENAME TO log_with_index",
    `CREATE TABLE log (step INTEGER NOT NULL, piece INTEGER NOT NULL, data BLOB NOT NULL, PRIMARY KEY (step, piece))
     WITHOUT ROWID`,
    "INSERT INTO log SELECT step, piece, data FROM log_with_index",
    "DROP TABLE log_with_index",
  ],
  // Public names, for credit.
  ["ALTER TABLE member ADD COLUMN name TEXT NOT NULL DEFAULT ''"],
  // Learning rates; and optimizers beside Adam, whose states have the names of PyTorch's.
  [
    "ALTER TABLE metric ADD COLUMN lr REAL",
    "UPDATE checkpoint SET part = 'exp_avg' WHERE part = 'm'",
    "UPDATE checkpoint SET part = 'exp_avg_sq' WHERE part = 'v'",
  ],
  // Counts over held-out samples: of the last evaluation of each kind, for they are large.
  [`CREATE TABLE evaluation_tables (work TEXT PRIMARY KEY, step INTEGER NOT NULL, tables TEXT NOT NULL) WITHOUT ROWID`],
  // Step and piece in one number, which is the row's own: large values are written several times as fast as without rows' numbers,
  // and there still is no index.
  [
    "ALTER TABLE log RENAME TO log_without_rowid",
    "CREATE TABLE log (place INTEGER PRIMARY KEY, data BLOB NOT NULL)",
    `INSERT INTO log SELECT step * ${LOG_PIECES} + piece, data FROM log_without_rowid`,
    "DROP TABLE log_without_rowid",
  ],
  // What audits found of an identity. An address block is kept of those who are banned alone.
  [
    `CREATE TABLE standing (
      id TEXT PRIMARY KEY, streak INTEGER NOT NULL, strikes INTEGER NOT NULL, audited INTEGER NOT NULL,
      suspect_since INTEGER, banned_at INTEGER, block TEXT NOT NULL DEFAULT ''
    ) WITHOUT ROWID`,
    // Of a member's samples those that somebody else's result was added for.
    "ALTER TABLE member ADD COLUMN repeated INTEGER NOT NULL DEFAULT 0",
    // The grid after the checkpoint's steps, to go back to them or to a logged one; empty where it is not known.
    "ALTER TABLE state ADD COLUMN checkpoint_envelope BLOB NOT NULL DEFAULT x''",
  ],
  // Tokens made before the last revocation are of an earlier generation.
  ["ALTER TABLE session ADD COLUMN generation INTEGER NOT NULL DEFAULT 0"],
  // Whose report paused it that nobody could confirm; null where it is not paused for one.
  ["ALTER TABLE state ADD COLUMN unconfirmed TEXT"],
];

/** What runs a statement; both the platform's own and the one that counts. */
type Sql = Pick<SqlStorage, "exec">;

export const SCHEMA_VERSION = MIGRATIONS.length;

/** Whether a session was ever created here. Reads only, so that asking for an unknown session stores nothing. */
export function hasSession(sql: Sql): boolean {
  return sql.exec("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'schema'").toArray().length === 1;
}

/** Brings the database to this code's schema. Call inside a transaction. Throws if the database is newer than this code. */
export function migrate(sql: Sql): void {
  sql.exec("CREATE TABLE IF NOT EXISTS schema (version INTEGER NOT NULL)");
  const found = sql.exec<{ version: number }>("SELECT version FROM schema").toArray()[0]?.version ?? 0;
  if (found > SCHEMA_VERSION) {
    throw new Error(`the database has schema ${found}, this code knows ${SCHEMA_VERSION}: deploy newer code`);
  }
  if (found === SCHEMA_VERSION) return;
  for (const statements of MIGRATIONS.slice(found)) for (const statement of statements) sql.exec(statement);
  sql.exec("DELETE FROM schema");
  sql.exec("INSERT INTO schema (version) VALUES (?)", SCHEMA_VERSION);
}
