/** The API's clock: each answer says what time it is there, to the second. This machine's may be wrong. */

const NEAR_MS = 2_000;

let ahead = 0;

/** `date`: the header of an answer that has just come; `here`: epoch ms of this machine. */
export function heard(date: string | null, here = Date.now()): void {
  const there = Date.parse(date ?? "");
  if (Number.isNaN(there)) return;
  ahead = Math.abs(there - here) < NEAR_MS ? 0 : there - here;
}

/** Epoch ms. */
export function now(here = Date.now()): number {
  return here + ahead;
}
