/** Numbers, times and codes in words. Times are the API's; the machine's own clock decides on nothing. */

import { now as apiNow } from "./time";

export function seconds(ms: number): string {
  if (ms < 1000) return `${Math.round(ms)} ms`;
  if (ms < 60_000) return `${(ms / 1000).toFixed(ms < 10_000 ? 1 : 0)} s`;
  const whole = Math.round(ms / 1000);
  const [hours, minutes, rest] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  return hours ? `${hours} h ${two(minutes)} min` : `${minutes} min ${two(rest)} s`;
}

/** As the ledger has it, to the millisecond. */
export function exact(ms: number): string {
  return `${(ms / 1000).toLocaleString("en", { minimumFractionDigits: 2, maximumFractionDigits: 3 })} s`;
}

const two = (n: number) => String(n).padStart(2, "0");

/** 60,000,000 are one credit. */
export function credits(credit_us: number): string {
  const value = credit_us / 60_000_000;
  return value.toLocaleString("en", { minimumFractionDigits: 2, maximumFractionDigits: 4 });
}

export function count(n: number): string {
  return n.toLocaleString("en");
}

const CLOCK = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const DAY = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short" });
const UTC_DAY = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", timeZone: "UTC" });
const WHOLE = new Intl.DateTimeFormat("en-GB", { dateStyle: "medium", timeStyle: "medium" });

export function clock(at: string | number, milliseconds = false): string {
  const date = new Date(at);
  return CLOCK.format(date) + (milliseconds ? `.${String(date.getMilliseconds()).padStart(3, "0")}` : "");
}

/** Of UTC, as the ledger has its days. */
export function day(at: number): string {
  return UTC_DAY.format(new Date(at));
}

/** The clock for what is half a day away at the most, else the day as well. */
export function moment(at: string, now = apiNow()): string {
  const apart = Math.abs(now - Date.parse(at));
  return apart < 12 * 3_600_000 ? clock(at) : `${DAY.format(new Date(at))}, ${clock(at).slice(0, 5)}`;
}

export function whole(at: string): string {
  return WHOLE.format(new Date(at));
}

/** `sess_01J…9XK2`: enough to tell two apart. */
export function short(id: string): string {
  const [kind, rest = ""] = id.split("_");
  return rest.length > 10 ? `${kind}_${rest.slice(0, 4)}…${rest.slice(-6)}` : id;
}

/** `audio_stalled` → `Audio stalled`. */
export function sentence(code: string): string {
  const text = code.replace(/^[a-z]+\./, "").replaceAll("_", " ");
  return text.charAt(0).toUpperCase() + text.slice(1);
}
