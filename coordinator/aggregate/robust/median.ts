/** Yin et al. 2018, definition 1: the median of each coordinate; of an even count the mean of the middle two. */

import type { Aggregator } from "./rows.ts";
import { trim } from "./trimmed-mean.ts";

export const median: Aggregator<unknown> = ({ rows }) => trim(rows.count, Math.floor((rows.count - 1) / 2));
