/** A page that was open while the console was built anew asks for files that are no more: it is loaded again. */

import { connection } from "./connection";

const LAST = "greenroom.loaded-again";
const AT_MOST_EVERY_MS = 30_000;

/** Whether it may be loaded again, and notes that it is: what fails each time must not do so for ever. */
export function mayLoad(kept: Pick<Storage, "getItem" | "setItem">, now: number): boolean {
  const last = Number(kept.getItem(LAST) ?? Number.NEGATIVE_INFINITY);
  if (now - last < AT_MOST_EVERY_MS && now >= last) return false;
  kept.setItem(LAST, String(now));
  return true;
}

/** As soon as the API answers: without it nothing could be loaded at all, and what is shown would be lost. */
export async function loadAgain(): Promise<void> {
  await connection.doubt();
  if (connection.state === "up") {
    if (mayLoad(sessionStorage, Date.now())) location.reload();
    return;
  }
  const done = connection.subscribe(() => {
    if (connection.state !== "up") return;
    done();
    if (mayLoad(sessionStorage, Date.now())) location.reload();
  });
}
