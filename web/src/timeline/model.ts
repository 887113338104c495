/** A session as one picture over time: what the API tells of it, as marks in lanes. Pure. */

import type { Schemas, Session } from "../data/api";
import type { Delivery, Entry, Happened } from "../data/queries";
import { isLive } from "../data/sessions";
import { credits, seconds, sentence } from "../data/words";

export type Kind =
  | "queued"
  | "starting"
  | "running"
  | "ending"
  | "attempt"
  | "lost"
  | "event"
  | "problem"
  | "end"
  | "heartbeat"
  | "stall"
  | "synthetic"
  | "delivered"
  | "pending"
  | "given_up"
  | "usage"
  | "adjustment";

/** `to` null: a moment. `key`: of the event that it shows, as the list beside has it. */
export type Mark = {
  lane: string;
  kind: Kind;
  from: number;
  to: number | null;
  label: string;
  detail: string;
  key: string;
};

export type Lane = { name: string; marks: Mark[] };
export type Picture = { from: number; to: number; lanes: Lane[]; marks: Mark[] };

export type Told = {
  session: Session;
  timeline: Schemas["Timeline"] | undefined;
  history: Happened[];
  entries: Entry[];
  deliveries: Delivery[];
};

const at = (text: string) => Date.parse(text);

export function keyOf(event: Happened): string {
  return event.seq === null ? `beat-${event.data.attempt}-${event.n}` : `seq-${event.seq}`;
}

/** `now`: by the server's clock, for what goes on. */
export function picture(told: Told, now: number): Picture {
  const { session } = told;
  const begin = at(session.created_at);
  const ended = session.ended_at ?? session.failed_at;
  const end = ended ? at(ended) : Math.max(now, begin + 1000);
  const lanes: Lane[] = [
    { name: "Phase", marks: phases(told, begin, end) },
    { name: "Attempts", marks: attempts(told, end) },
    { name: "Events", marks: events(told) },
    { name: "Heartbeats", marks: beats(told) },
    { name: "Audio", marks: audio(told, end) },
    { name: "Usage", marks: usage(told) },
    { name: "Webhooks", marks: webhooks(told) },
  ];
  const marks = lanes.flatMap((lane) => lane.marks).sort((a, b) => a.from - b.from);
  // What came long after (a webhook that was sent again, an adjustment) is shown at the edge: it would make all else tiny.
  const edge = end + Math.max(2000, (end - begin) * 0.06);
  return { from: begin, to: edge, lanes, marks };
}

function mark(lane: string, kind: Kind, from: number, to: number | null, label: string, detail = "", key = ""): Mark {
  return { lane, kind, from, to, label, detail, key };
}

function phases({ session, history }: Told, begin: number, end: number): Mark[] {
  const ending = history.find((each) => each.type === "session.ending");
  const starts: [Kind, number | null][] = [
    ["queued", begin],
    ["starting", session.started_at ? at(session.started_at) : null],
    ["running", session.first_frame_at ? at(session.first_frame_at) : null],
    ["ending", ending ? at(ending.occurred_at) : null],
  ];
  const known = starts.filter((each): each is [Kind, number] => each[1] !== null);
  return known.map(([kind, from], n) => {
    const to = Math.max(from, known[n + 1]?.[1] ?? end);
    return mark("Phase", kind, from, to, sentence(kind), seconds(to - from));
  });
}

function attempts({ timeline, session }: Told, end: number): Mark[] {
  const all = timeline?.attempts ?? [];
  return all.map((each, n) => {
    const next = all[n + 1];
    const gone = ["lost", "declined", "replaced"].includes(each.outcome);
    const detail = [each.outcome, each.reason && each.reason !== "create" ? sentence(each.reason).toLowerCase() : ""];
    const to = next ? at(next.assigned_at) : isLive(session) ? end : end;
    return mark(
      "Attempts",
      gone ? "lost" : "attempt",
      at(each.assigned_at),
      to,
      `Attempt ${each.attempt}`,
      detail.filter(Boolean).join(", "),
    );
  });
}

const STALL = "session.audio_stalled";
const RESUMED = "session.audio_resumed";
const PROBLEMS = ["session.failed", "session.expiring", STALL];
const ENDS = ["session.ended", "session.canceled", "session.erased"];

function events({ history }: Told): Mark[] {
  return history
    .filter((each) => each.seq !== null)
    .map((each) => {
      const kind = PROBLEMS.includes(each.type) ? "problem" : ENDS.includes(each.type) ? "end" : "event";
      return mark("Events", kind, at(each.occurred_at), null, sentence(each.type), each.type, keyOf(each));
    });
}

function beats({ history }: Told): Mark[] {
  return history.flatMap((each) => {
    if (each.seq !== null) return [];
    const { billable_ms, frames } = each.data;
    const detail = `${seconds(billable_ms)} billed, ${frames} frames`;
    return [mark("Heartbeats", "heartbeat", at(each.occurred_at), null, `Heartbeat ${each.n}`, detail, keyOf(each))];
  });
}

function audio({ history }: Told, end: number): Mark[] {
  const found: Mark[] = [];
  let since: number | null = null;
  for (const each of history) {
    const time = at(each.occurred_at);
    if (each.type === STALL) since ??= time;
    if (since !== null && (each.type === RESUMED || ENDS.includes(each.type) || each.type === "session.failed")) {
      found.push(mark("Audio", "stall", since, time, "Audio stalled", seconds(time - since)));
      since = null;
    }
    if (each.type === "session.synthetic_audio_started") {
      found.push(mark("Audio", "synthetic", time, null, "Synthetic audio started", "nobody was there", keyOf(each)));
    }
  }
  if (since !== null) found.push(mark("Audio", "stall", since, end, "Audio stalled", "goes on"));
  return found;
}

function usage({ entries }: Told): Mark[] {
  return entries.map((entry) => {
    const detail = `${seconds(Math.abs(entry.billable_ms))}, ${credits(entry.credit_us)} credits, ${entry.hash.slice(0, 10)}…`;
    if (entry.kind === "adjustment") {
      return mark("Usage", "adjustment", at(entry.recorded_at), null, "Adjustment", detail, entry.id);
    }
    return mark("Usage", "usage", at(entry.from), at(entry.to), `Usage entry ${entry.n}`, detail, entry.id);
  });
}

function webhooks({ deliveries }: Told): Mark[] {
  return deliveries
    .map((each) => {
      const when = at(each.finished_at ?? each.created_at);
      const tries = each.attempts === 1 ? "1 attempt" : `${each.attempts} attempts`;
      return mark(
        "Webhooks",
        each.status,
        when,
        null,
        `Webhook ${each.type}`,
        `${sentence(each.status)}, ${tries}`,
        each.id,
      );
    })
    .sort((a, b) => a.from - b.from);
}

/** About five places on the axis, at round times since the begin. */
export function ticks(spanMs: number): number[] {
  const steps = [100, 200, 500, 1e3, 2e3, 5e3, 1e4, 15e3, 3e4, 6e4, 12e4, 3e5, 6e5, 12e5, 18e5, 36e5];
  const step = steps.find((each) => spanMs / each <= 6) ?? 72e5;
  return Array.from({ length: Math.floor(spanMs / step) + 1 }, (_, n) => n * step);
}
