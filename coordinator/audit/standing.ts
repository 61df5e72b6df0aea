/**
 * What is known of an identity by its audits, and what follows from one more. Plain values in and out: they are stored with the
 * step that they belong to.
 */

import { GROSS } from "./compare.ts";

export interface Standing {
  /** Results of its own that were compared and agreed with, in a row. */
  readonly streak: number;
  /** Results found wrong by less than chance excludes, not forgiven yet. */
  readonly strikes: number;
  /** Results compared. */
  readonly audited: number;
  /** First step of what was accepted since its last result that was compared; null where there is nothing. */
  readonly suspectSince: number | null;
  readonly isBanned: boolean;
}

export interface AuditOptions {
  /** Results of a newcomer that are all compared. */
  readonly newcomers: number;
  /** Part of the leases of the proven that are given twice. */
  readonly rate: number;
}

/** Strikes with which an identity is banned. One may be a gate at its edge; an honest client has not so many within a streak. */
export const STRIKES = 3;

export const NEWCOMER: Standing = { streak: 0, strikes: 0, audited: 0, suspectSince: null, isBanned: false };

/** Whether its results are believed without being compared, most of the time. */
export const isProven = ({ streak }: Standing, { newcomers }: AuditOptions): boolean => streak >= newcomers;

/** A result of it was added to the sums of a step. */
export const accepted = (standing: Standing, step: number): Standing =>
  standing.suspectSince === null ? { ...standing, suspectSince: step } : standing;

/** A result of it was found right: what came before it is believed, and once it is proven again, its strikes are forgiven. */
export function passed(standing: Standing, options: AuditOptions): Standing {
  const streak = standing.streak + 1;
  const strikes = streak >= options.newcomers ? 0 : standing.strikes;
  return { ...standing, streak, strikes, audited: standing.audited + 1, suspectSince: null };
}

/** A result of it was found wrong by so many tolerances: from now on all of its results are compared, if it may stay at all. */
export function struck(standing: Standing, difference: number): Standing {
  const strikes = standing.strikes + 1;
  const isBanned = difference > GROSS || strikes >= STRIKES;
  return { ...standing, streak: 0, strikes, audited: standing.audited + 1, isBanned };
}

/** Somebody said otherwise, and nobody was there to decide. */
export const doubted = (standing: Standing): Standing => ({ ...standing, streak: 0 });
