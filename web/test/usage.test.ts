import { expect, test } from "vitest";
import type { Entry } from "../src/data/queries";
import { csv, days } from "../src/data/usage";
import { credits, seconds, short } from "../src/data/words";

test("days are those of UTC, today the last", () => {
  expect(days(2, Date.UTC(2026, 10, 1, 0, 30))).toEqual([
    { start: "2026-10-31T00:00:00.000Z", end: "2026-11-01T00:00:00.000Z" },
    { start: "2026-11-01T00:00:00.000Z", end: "2026-11-02T00:00:00.000Z" },
  ]);
});

test("a file holds no formula, whatever an avatar is called", () => {
  const entry = { id: "use_1", avatar_id: '=HYPERLINK("http://x")', credit_us: -5, from: "a,b" } as Entry;
  const [head, line] = csv([entry]).split("\r\n");
  expect(head?.split(",")[0]).toBe("id");
  expect(line).toContain(`"'=HYPERLINK(""http://x"")"`);
  expect(line).toContain(",-5,");
  expect(line).toContain('"a,b"');
});

test("words", () => {
  expect([999, 1500, 61_000, 3_725_000].map(seconds)).toEqual(["999 ms", "1.5 s", "1 min 01 s", "1 h 02 min"]);
  expect(credits(90_000_000)).toBe("1.50");
  expect(short("sess_01K8Z5Q2N4V6X8Z0B2D4F6H8J0")).toBe("sess_01K8…F6H8J0");
  expect(short("av_demo")).toBe("av_demo");
});
