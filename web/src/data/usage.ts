/** Usage by day, and as a file. Days are the API's: UTC. */

import type { Entry } from "./queries";

const DAY_MS = 86_400_000;

export type Day = { start: string; end: string };

/** The last `count` days, that of `now` included, oldest first. */
export function days(count: number, now: number): Day[] {
  const today = Math.floor(now / DAY_MS) * DAY_MS;
  return Array.from({ length: count }, (_, n) => {
    const start = today - (count - 1 - n) * DAY_MS;
    return { start: new Date(start).toISOString(), end: new Date(start + DAY_MS).toISOString() };
  });
}

const COLUMNS = [
  "id",
  "session_id",
  "avatar_id",
  "attempt",
  "n",
  "kind",
  "quality",
  "billed_as",
  "multiplier_milli",
  "rate_card",
  "from",
  "to",
  "billable_ms",
  "frames",
  "credit_us",
  "hash",
  "recorded_at",
] as const satisfies readonly (keyof Entry)[];

/** A line for each entry. A text that a spreadsheet would run is no formula in it. */
export function csv(entries: readonly Entry[]): string {
  const lines = entries.map((entry) => COLUMNS.map((name) => cell(entry[name])).join(","));
  return `${[COLUMNS.join(","), ...lines].join("\r\n")}\r\n`;
}

function cell(value: string | number): string {
  if (typeof value === "number") return String(value);
  const plain = /^[=+\-@\t\r]/.test(value) ? `'${value}` : value;
  return /[",\r\n]/.test(plain) ? `"${plain.replaceAll('"', '""')}"` : plain;
}
