import { expect, test } from "vitest";
import type { Session } from "../src/data/api";
import type { Delivery, Entry, Happened } from "../src/data/queries";
import { picture, ticks } from "../src/timeline/model";

const BEGIN = Date.UTC(2026, 10, 1);
const time = (ms: number) => new Date(BEGIN + ms).toISOString();

const session = (more: Partial<Session> = {}) =>
  ({
    status: "ended",
    created_at: time(0),
    started_at: time(200),
    first_frame_at: time(1000),
    ended_at: time(21_000),
    failed_at: null,
    ...more,
  }) as Session;

const event = (seq: number, type: string, ms: number) => ({ seq, type, occurred_at: time(ms), data: {} }) as Happened;
const beat = (n: number, ms: number) =>
  ({
    seq: null,
    n,
    type: "session.heartbeat",
    occurred_at: time(ms),
    data: { attempt: 1, billable_ms: 5000, frames: 125 },
  }) as Happened;

const told = {
  session: session(),
  timeline: undefined,
  history: [
    event(1, "session.created", 0),
    event(4, "session.first_frame", 1000),
    beat(1, 6000),
    event(6, "session.audio_stalled", 8000),
    event(7, "session.audio_resumed", 11_000),
    event(9, "session.ending", 20_000),
    event(10, "session.ended", 21_000),
  ],
  entries: [] as Entry[],
  deliveries: [] as Delivery[],
};

const lane = (name: string, of = picture(told, 0)) => of.lanes.find((each) => each.name === name)?.marks ?? [];
const spans = (name: string, of = picture(told, 0)) =>
  lane(name, of).map((mark) => [mark.kind, mark.from - BEGIN, mark.to === null ? null : mark.to - BEGIN]);

test("phases follow one another to the end", () => {
  expect(spans("Phase")).toEqual([
    ["queued", 0, 200],
    ["starting", 200, 1000],
    ["running", 1000, 20_000],
    ["ending", 20_000, 21_000],
  ]);
});

test("what goes on goes on until now", () => {
  const live = { ...told, session: session({ status: "running", ended_at: null }), history: told.history.slice(0, 4) };
  expect(spans("Phase", picture(live, BEGIN + 9500)).at(-1)).toEqual(["running", 1000, 9500]);
  expect(spans("Audio", picture(live, BEGIN + 9500))).toEqual([["stall", 8000, 9500]]);
});

test("a stall lasts until the sound is back", () => {
  expect(spans("Audio")).toEqual([["stall", 8000, 11_000]]);
});

test("a session that never started", () => {
  const never = {
    ...told,
    session: session({ status: "canceled", started_at: null, first_frame_at: null }),
    history: [],
  };
  expect(spans("Phase", picture(never, 0))).toEqual([["queued", 0, 21_000]]);
});

test("attempts end where the next begins", () => {
  const attempt = (n: number, ms: number, outcome: string) => ({
    attempt: n,
    assigned_at: time(ms),
    outcome,
    reason: "lost",
  });
  const timeline = { attempts: [attempt(1, 0, "lost"), attempt(2, 7000, "ended")] } as never;
  expect(spans("Attempts", picture({ ...told, timeline }, 0))).toEqual([
    ["lost", 0, 7000],
    ["attempt", 7000, 21_000],
  ]);
});

test("a webhook that was sent again days later does not make all else tiny", () => {
  const sent = { id: "whd_1", type: "session.ended", status: "delivered", attempts: 2, created_at: time(21_000) };
  const deliveries = [{ ...sent, finished_at: time(2 * 86_400_000) }] as Delivery[];
  const made = picture({ ...told, deliveries }, 0);
  expect(made.to - BEGIN).toBeLessThan(25_000);
  expect(lane("Webhooks", made)).toHaveLength(1);
});

test("marks are walked through in time", () => {
  const times = picture(told, 0).marks.map((mark) => mark.from);
  expect(times).toEqual([...times].sort((a, b) => a - b));
  expect(times).toHaveLength(12);
});

test("ticks are round and few", () => {
  expect(ticks(21_000)).toEqual([0, 5000, 10_000, 15_000, 20_000]);
  for (const span of [50, 999, 3600_000, 36_000_000]) expect(ticks(span).length).toBeLessThan(9);
});
