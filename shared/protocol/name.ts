/** Names that volunteers choose for themselves: shown to everyone, so nothing in them may act on what is around them. */

const NAME_CHARACTERS = 40;

/** Controls, line separators, marks and overrides of direction, invisible fillers, private use, halves of pairs. */
const UNPRINTABLE =
  /[\p{Cc}\p{Zl}\p{Zp}\p{Co}\p{Cs}\u00AD\u061C\u115F\u1160\u180E\u200B\u200E\u200F\u202A-\u202E\u2060-\u206F\u3164\uFEFF\uFFA0\uFFF9-\uFFFB\u{E0000}-\u{E0FFF}]/gu;
/** More marks on one letter than any script needs. */
const PILED_MARKS = /(\p{M}{3})\p{M}+/gu;

/** The name as it is kept: printable, on one line, at most 40 characters; empty if nothing is left. */
export function publicName(text: string): string {
  const line = text
    .slice(0, 1_000)
    .normalize("NFC")
    .replace(/[\s\u0085]+/gu, " ")
    .replace(UNPRINTABLE, "")
    .replace(PILED_MARKS, "$1")
    .trim();
  return [...line].slice(0, NAME_CHARACTERS).join("").trim();
}
