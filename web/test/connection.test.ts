import { expect, test, vi } from "vitest";
import { mayLoad } from "../src/data/again";
import { isAway } from "../src/data/connection";
import { follow, pause } from "../src/data/feed";
import { query } from "../src/data/sessions";
import { heard, now } from "../src/data/time";
import { days } from "../src/data/usage";
import { moment } from "../src/data/words";

const answer = (status: number, body: unknown) =>
  new Response(typeof body === "string" ? body : JSON.stringify(body), { status });

test("a proxy that answers for an API that is away", async () => {
  for (const status of [502, 503, 504]) {
    expect(await isAway(answer(status, "<h1>Bad gateway</h1>"))).toBe(true);
    expect(await isAway(answer(status, { error: "no upstream" }))).toBe(true);
    expect(await isAway(answer(status, { error: { code: "overloaded" } }))).toBe(false);
  }
  expect(await isAway(answer(500, "crash"))).toBe(false);
  expect(await isAway(answer(200, "{}"))).toBe(false);
});

test("a page is loaded again at most once in half a minute", () => {
  const kept = new Map<string, string>();
  const storage = {
    getItem: (name: string) => kept.get(name) ?? null,
    setItem: (name: string, value: string) => void kept.set(name, value),
  };
  const allowed = [0, 1_000, 29_999, 30_000, 31_000, 5_000].map((at) => mayLoad(storage, at));
  expect(allowed).toEqual([true, false, false, true, false, true]); // the last: its clock was put back
});

test("a stream that is refused is asked for less and less often, and nothing else for it", async () => {
  expect([1, 2, 3, 4, 5, 60].map(pause)).toEqual([3_000, 6_000, 12_000, 24_000, 30_000, 30_000]);
  vi.useFakeTimers();
  const opened: { onerror: () => void; onopen: () => void; readyState: number }[] = [];
  class Refusing {
    static readonly CLOSED = 2;
    readyState = 2;
    onerror = () => {};
    onopen = () => {};
    constructor() {
      opened.push(this);
    }
    addEventListener() {}
    close() {}
  }
  vi.stubGlobal("EventSource", Refusing);
  vi.stubGlobal("document", { hidden: false, addEventListener() {}, removeEventListener() {} });
  vi.stubGlobal("fetch", async () => answer(200, "{}"));
  const gaps = vi.fn();
  const refused = vi.fn();
  const end = follow(() => {}, gaps, refused);
  for (let n = 1; n < 8; n++) {
    opened.at(-1)?.onerror();
    vi.advanceTimersByTime(pause(n) - 1);
    expect(opened.length).toBe(n);
    vi.advanceTimersByTime(1);
    expect(opened.length).toBe(n + 1);
  }
  expect([gaps.mock.calls.length, refused.mock.calls.length]).toEqual([0, 7]);
  opened.at(-1)?.onopen();
  expect(gaps).toHaveBeenCalledTimes(1);
  end();
  vi.unstubAllGlobals();
  vi.useRealTimers();
});

test("the time is the API's", () => {
  const here = Date.parse("2026-11-29T13:00:00Z");
  heard("Sun, 29 Nov 2026 12:00:00 GMT", here);
  expect(now(here)).toBe(here - 3_600_000);
  heard(null, here);
  expect(now(here)).toBe(here - 3_600_000);
  heard("Sun, 29 Nov 2026 12:59:59 GMT", here);
  expect(now(here)).toBe(here);
});

test("a clock an hour off changes neither what is asked for nor what is told", () => {
  const there = Date.parse("2026-11-29T23:30:00Z");
  const within = { status: "all", avatar: "", within: "1h" } as const;
  const asked = (off: number) => {
    heard("Sun, 29 Nov 2026 23:30:00 GMT", there + off);
    const at = now(there + off);
    return [query(within, at), days(2, at), moment("2026-11-29T12:00:00Z", at)];
  };
  const [right, ...wrong] = [0, 3_600_000, -3_600_000].map(asked);
  expect(right?.[0]).toEqual({ created_after: "2026-11-29T22:30:00.000Z" });
  for (const each of wrong) expect(each).toEqual(right);
  heard("Sun, 29 Nov 2026 23:30:00 GMT", there);
});
