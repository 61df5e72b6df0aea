/**
 * Text that somebody else wrote, as a terminal may show it: one line without escape sequences, control characters or marks
 * that turn the direction of writing, and not longer than asked. A title could otherwise move the cursor, recolour the
 * screen, or make one line read as another.
 */

import { stripVTControlCharacters } from "node:util";

/** Characters that break a line, for which a space stands. */
const BREAKS = /[\t-\r\u0085\u2028\u2029]+/gu;
/** C0, C1 and delete; and all of Unicode's bidirectional controls: U+061C, U+200E/F, U+202A–202E, U+2066–2069. */
const UNSAFE = /[\p{Cc}\p{Bidi_Control}]/gu;
const UNSAFE_IN_LINES = /(?![\n\t])[\p{Cc}\p{Bidi_Control}\u2028\u2029]/gu;
/** Whatever the limit, no more than so many characters a shown one are looked at: a name may come with megabytes. */
const LOOKED_AT = 16;

/**
 * @param text what a coordinator or a volunteer sent, where a string was promised
 * @param limit most characters (code points) of the answer; what is cut ends in an ellipsis
 */
export function plain(text: unknown, limit = 200): string {
  const clean = stripVTControlCharacters(String(text).slice(0, limit * LOOKED_AT))
    .toWellFormed()
    .replace(BREAKS, " ")
    .replace(UNSAFE, "");
  const characters = [...clean];
  return characters.length <= limit ? clean : `${characters.slice(0, limit - 1).join("")}…`;
}

/** Text of several lines as it is, without anything else that a terminal acts on. */
export const plainLines = (text: string): string => text.replace(UNSAFE_IN_LINES, "");

/** JSON of the same value on one line, with the characters above escaped: a terminal may show it as well. */
export function plainJson(value: unknown): string {
  return JSON.stringify(value).replace(
    UNSAFE,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}
