/** What an operator sees, as `api/console_operator.py` tells it. Times are epoch ms. */

import { ours } from "./api";

export type Window = {
  from_ms: number;
  to_ms: number;
  starts: number;
  active: Record<string, number>;
  first_frame: { count: number; p50_ms: number | null; p95_ms: number | null; p99_ms: number | null };
  billable_ms: number;
  credit_us: number;
  failures: Record<string, number>;
  audio_stalls: number;
};

export type Of = { key: string; window: Window };

export type Parked = {
  consumer: string;
  topic: string;
  subject: string;
  partition: number;
  offset: number;
  reason: string;
  asked: boolean;
};

export type Look = {
  live: { at_ms: number; minutes: Window[]; now: Window; qualities: Of[]; accounts: Of[] };
  lag: { consumer: string; topic: string; events: number }[] | null;
  slots: { all: number; free: number };
  workers: {
    worker_id: string;
    phase: string;
    qualities: string[];
    registered_ms: number;
    slots: number;
    held: number;
    silent_ms: number | null;
  }[];
  parked: Parked[];
  parked_count: number;
};

export type Letters = {
  data: { number: number; copied_at: string; topic: string; partition: string; offset: string; reason: string }[];
  total: number;
};

export type Verdict = {
  equal: boolean;
  found: number;
  unread: number;
  events: number;
  rejected: number;
  malformed: number;
  sessions: number;
  entries: number;
  billable_ms: number;
  credit_us: number;
  differences: { kind: string; of: string; detail: string }[];
};

export type Audit = {
  status: "never" | "running" | "done" | "failed";
  started_at?: string;
  ended_at?: string;
  done?: number;
  total?: number;
  verdict?: Verdict;
  failed?: string;
};

export const look = {
  queryKey: ["operator"],
  queryFn: () => ours<Look>("GET", "operator"),
  refetchInterval: 2_000,
};

export const letters = {
  queryKey: ["operator", "dead_letters"],
  queryFn: () => ours<Letters>("GET", "operator/dead_letters"),
  refetchInterval: 30_000,
};

/** `null`: all that is parked. Answers how many are asked for. */
export const askParked = (subject: string | null) => ours<{ asked: number }>("POST", "operator/parked", { subject });

export const AUDIT = ["operator", "audit"];

export const beginAudit = () => ours<Audit>("POST", "operator/audit");
export const askAudit = () => ours<Audit>("GET", "operator/audit");
