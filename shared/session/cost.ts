/**
 * What a session used of Cloudflare's services, in dollars and as a share of what is free each day. Counting is the
 * coordinator's; this is the arithmetic, for everyone who shows it.
 *
 * Prices are list prices as of 2026 (developers.cloudflare.com: durable-objects, workers and r2, each under
 * platform/pricing), before the amounts that a paid plan includes. Not counted: the plan's monthly fee, CPU time of the
 * Worker, and the storage of data sets, which sessions share.
 */

/** Counts since the session was created. */
export interface Usage {
  /** Calls of the session's object: over HTTP, socket upgrades, alarms. */
  readonly requests: number;
  /** Messages that came in over sockets. */
  readonly messages: number;
  readonly rowsRead: number;
  readonly rowsWritten: number;
  /** Seconds in which the object could not sleep; estimated, and rather too many than too few. */
  readonly activeSeconds: number;
  /** R2 operations of class A (writing and listing) and B (reading). */
  readonly r2Writes: number;
  readonly r2Reads: number;
  /** Bytes of the object's database now. */
  readonly storedBytes: number;
  /** Seconds since the session was created. */
  readonly age: number;
}

interface Resource {
  /** What `units` counts. */
  readonly unit: string;
  /** Dollars a unit. */
  readonly price: number;
  /** Units a day that cost nothing; null where the quota is not a daily one. */
  readonly freeDaily: number | null;
  readonly units: (usage: Usage) => number;
}

/** Memory that an object is billed for, whatever it uses. */
const OBJECT_GIGABYTES = 0.125;
/** Incoming socket messages that are billed as one request. */
const MESSAGES_PER_REQUEST = 20;
const MONTH = 30 * 24 * 3600;
const MILLION = 1e6;

const RESOURCES = {
  objectRequests: {
    unit: "requests, 20 socket messages being one",
    price: 0.15 / MILLION,
    freeDaily: 100_000,
    units: ({ requests, messages }) => requests + messages / MESSAGES_PER_REQUEST,
  },
  /** Each call of the object came through the Worker, except alarms: rather too many. Data come through it, too. */
  workerRequests: {
    unit: "requests",
    price: 0.3 / MILLION,
    freeDaily: 100_000,
    units: ({ requests, r2Reads }) => requests + r2Reads,
  },
  duration: {
    unit: "GB-s",
    price: 12.5 / MILLION,
    freeDaily: 13_000,
    units: ({ activeSeconds }) => activeSeconds * OBJECT_GIGABYTES,
  },
  rowsRead: { unit: "rows", price: 0.001 / MILLION, freeDaily: 5_000_000, units: ({ rowsRead }) => rowsRead },
  rowsWritten: { unit: "rows", price: 1 / MILLION, freeDaily: 100_000, units: ({ rowsWritten }) => rowsWritten },
  /** As if what is stored now had been there from the beginning. */
  storage: {
    unit: "GB-months",
    price: 0.2,
    freeDaily: null,
    units: ({ storedBytes, age }) => (storedBytes / 1e9) * (age / MONTH),
  },
  r2Writes: { unit: "operations", price: 4.5 / MILLION, freeDaily: null, units: ({ r2Writes }) => r2Writes },
  r2Reads: { unit: "operations", price: 0.36 / MILLION, freeDaily: null, units: ({ r2Reads }) => r2Reads },
} as const satisfies Record<string, Resource>;

export type ResourceName = keyof typeof RESOURCES;

export interface PartCost {
  readonly unit: string;
  readonly units: number;
  readonly dollars: number;
  /** Part of one day's free quota; null where there is no daily one. */
  readonly freeDailyShare: number | null;
}

export interface SessionCost {
  readonly usage: Usage;
  readonly dollars: number;
  /** Largest part of any one day's free quota: above 1 it took more than a day of them. */
  readonly freeDailyShare: number;
  readonly parts: Readonly<Record<ResourceName, PartCost>>;
}

export function costOf(usage: Usage): SessionCost {
  const parts = Object.fromEntries(
    Object.entries<Resource>(RESOURCES).map(([name, { unit, price, freeDaily, units }]): [string, PartCost] => {
      const used = units(usage);
      const freeDailyShare = freeDaily === null ? null : used / freeDaily;
      return [name, { unit, units: used, dollars: used * price, freeDailyShare }];
    }),
  ) as Record<ResourceName, PartCost>;
  const all = Object.values(parts);
  return {
    usage,
    dollars: all.reduce((sum, { dollars }) => sum + dollars, 0),
    freeDailyShare: Math.max(...all.map(({ freeDailyShare }) => freeDailyShare ?? 0)),
    parts,
  };
}

/** Small sums keep two digits that say something. */
export const formatDollars = (dollars: number): string =>
  `$${dollars === 0 || dollars >= 1 ? dollars.toFixed(2) : dollars.toFixed(Math.min(8, 1 - Math.floor(Math.log10(dollars))))}`;

/** Part of a free day, two digits of it. */
export const formatFreeShare = (share: number): string => `${Number((share * 100).toPrecision(2))} % of a free day`;
