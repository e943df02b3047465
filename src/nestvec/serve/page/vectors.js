// A vector as a reader pastes it.

import { count } from "./words.js";

const wordsOf = (text) => text.replace(/[[\]()]/g, " ").split(/[\s,;]+/).filter(Boolean);

/** Its numbers, or null where they are not `dim` many. */
export function vectorOf(text, dim) {
  const numbers = wordsOf(text).map(Number);
  return numbers.length === dim && numbers.every(Number.isFinite) ? numbers : null;
}

/** What is wrong with a text that should be one. */
export function wrongVector(text, dim) {
  const words = wordsOf(text);
  const odd = words.find((word) => !Number.isFinite(Number(word)));
  const found = odd === undefined ? `got ${count(words.length)}` : `“${odd.slice(0, 40)}” is none`;
  return `A vector of this collection is ${count(dim)} numbers; ${found}.`;
}
