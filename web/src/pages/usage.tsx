import { useMutation, useQueries, useQuery } from "@tanstack/react-query";
import { type FormEvent, lazy, Suspense, useMemo, useState } from "react";
import { api, Failure, type Me, may, type Schemas, taken } from "../data/api";
import { client, type Entry } from "../data/queries";
import { now } from "../data/time";
import { csv, days } from "../data/usage";
import { count, seconds, sentence } from "../data/words";
import { Card, Empty, Head, Loading, Problem, Segmented, Time } from "../parts/basic";
import { Icon } from "../parts/icon";

const Chart = lazy(() => import("../parts/chart"));

type Period = "current_month" | "previous_month";
const PERIODS = [
  ["current_month", "This month"],
  ["previous_month", "Last month"],
] as const;

export default function Usage({ me }: { me: Me }) {
  const [period, setPeriod] = useState<Period>("current_month");
  const asked = useQuery({
    queryKey: ["usage", period],
    queryFn: () => taken(api.GET("/v1/usage", { params: { query: { period } } })),
  });
  return (
    <>
      <Head
        title="Usage"
        actions={
          <>
            <Segmented label="Period" value={period} options={PERIODS} onChange={setPeriod} />
            {asked.data && <Csv usage={asked.data} />}
          </>
        }
      >
        <p>Each second is an entry in the ledger, each entry cites its event. Days and months are UTC.</p>
      </Head>
      {asked.data ? <Sums usage={asked.data} /> : <Loading of={asked} />}
      <div className="split">
        <div className="column">
          <ByDay />
          <LastHour />
        </div>
        <div className="column">
          <Limits me={me} />
          <Credits />
        </div>
      </div>
    </>
  );
}

function Sums({ usage }: { usage: Schemas["UsageSummary"] }) {
  return (
    <dl className="stats card">
      <div>
        <dt>Billed time</dt>
        <dd>{seconds(usage.billable_seconds * 1000)}</dd>
      </div>
      <div>
        <dt>Sessions</dt>
        <dd>{count(usage.sessions)}</dd>
      </div>
      {Object.entries(usage.by_quality).map(([quality, each]) => (
        <div key={quality}>
          <dt>{quality}</dt>
          <dd>{seconds(each * 1000)}</dd>
        </div>
      ))}
    </dl>
  );
}

const SHOWN_DAYS = 30;

function ByDay() {
  const [shown] = useState(() => days(SHOWN_DAYS, now()));
  const asked = useQueries({
    queries: shown.map(({ start, end }, n) => ({
      queryKey: ["usage", "day", start],
      queryFn: () => taken(api.GET("/v1/usage", { params: { query: { period_start: start, period_end: end } } })),
      // To a day that is over nothing is added.
      staleTime: n < shown.length - 1 ? Number.POSITIVE_INFINITY : 30_000,
    })),
    combine: (results) => ({
      minutes: results.map((each) => (each.data ? each.data.billable_seconds / 60 : null)),
      error: results.find((each) => each.error)?.error ?? null,
    }),
  });
  const times = useMemo(() => shown.map((day) => Date.parse(day.start)), [shown]);
  const lines = useMemo(
    () => [{ name: "Billed", colour: "--mark-usage", values: asked.minutes, unit: "min" }],
    [asked.minutes],
  );
  const total = asked.minutes.reduce<number>((sum, each) => sum + (each ?? 0), 0);
  return (
    <Card title="Billed minutes by day" flush>
      {asked.error && <Problem failed={asked.error} />}
      <div className="body">
        <Suspense fallback={<div className="skeleton" />}>
          <Chart
            times={times}
            lines={lines}
            bars
            label={`Billed minutes of the last ${SHOWN_DAYS} days: ${Math.round(total)}`}
          />
        </Suspense>
      </div>
    </Card>
  );
}

function LastHour() {
  const asked = useQuery({
    queryKey: ["live"],
    queryFn: () => taken(api.GET("/v1/live", { params: { query: { window: "1m", limit: 60 } } })),
    refetchInterval: 5_000,
  });
  const windows = asked.data?.windows;
  const times = useMemo(() => (windows ?? []).map((each) => Date.parse(each.start)), [windows]);
  const lines = useMemo(() => {
    const active = (windows ?? []).map((each) => Object.values(each.active).reduce((sum, n) => sum + n, 0));
    return [{ name: "Live", colour: "--mark-running", values: active, unit: "sessions" }];
  }, [windows]);
  const sum = (of: (each: Schemas["LiveWindowResource"]) => number) =>
    (windows ?? []).reduce((all, each) => all + of(each), 0);
  const firsts = (windows ?? []).map((each) => each.first_frame.p95_ms).filter((each) => each !== null);
  return (
    <Card title="The last hour" flush>
      {asked.error && !asked.data && <Problem failed={asked.error} />}
      {windows && windows.length === 0 && (
        <Empty icon="usage" title="Nothing has happened in the last hour">
          <p>Live windows count each minute while a session runs. They need the process greenroom live.</p>
        </Empty>
      )}
      {windows && windows.length > 0 && (
        <div className="body stack">
          <Suspense fallback={<div className="skeleton" />}>
            <Chart times={times} lines={lines} label="Live sessions by minute" />
          </Suspense>
          <dl className="pairs num">
            <dt>Starts</dt>
            <dd>{count(sum((each) => each.starts))}</dd>
            <dt>First frame, worst p95</dt>
            <dd>{firsts.length ? seconds(Math.max(...firsts)) : "–"}</dd>
            <dt>Audio stalls</dt>
            <dd>{count(sum((each) => each.audio_stalls))}</dd>
            <dt>Failures</dt>
            <dd>{count(sum((each) => Object.values(each.failures).reduce((all, n) => all + n, 0)))}</dd>
          </dl>
        </div>
      )}
    </Card>
  );
}

const limitsQuery = { queryKey: ["limits"], queryFn: () => taken(api.GET("/v1/limits")) };

function Limits({ me }: { me: Me }) {
  const asked = useQuery(limitsQuery);
  const put = useMutation({
    mutationFn: (form: FormData) => taken(api.PUT("/v1/limits", { body: limits(form) as never })),
    onSuccess: () => client.invalidateQueries({ queryKey: ["limits"] }),
  });
  const submit = (event: FormEvent<HTMLFormElement>) => {
    event.preventDefault();
    put.mutate(new FormData(event.currentTarget));
  };
  if (!asked.data) return <Loading of={asked} />;
  const {
    hard_cap_credits: cap,
    threshold_credits: thresholds,
    used_credits: used,
    reached_credits,
  } = asked.data.account;
  return (
    <Card title="Spending this month">
      <form className="stack" onSubmit={submit} key={JSON.stringify([cap, thresholds])}>
        <div className="row between">
          <strong className="num">{used.toFixed(2)} credits used</strong>
          {cap !== null && <span className="muted num">of {cap}</span>}
        </div>
        {cap !== null && <progress value={used} max={Math.max(cap, 0.001)} aria-label="Of the cap" />}
        {reached_credits.length > 0 && (
          <div className="notice amber">
            <Icon name="warn" />
            <div>Reached: {reached_credits.join(", ")} credits.</div>
          </div>
        )}
        <div className="field">
          <label htmlFor="cap">Cap, in credits</label>
          <input
            id="cap"
            name="cap"
            className="input num"
            inputMode="decimal"
            defaultValue={cap ?? ""}
            placeholder="none"
          />
          <span className="hint">There, creates are refused and what runs is ended.</span>
        </div>
        <div className="field">
          <label htmlFor="thresholds">Tell me at</label>
          <input
            id="thresholds"
            name="thresholds"
            className="input num"
            defaultValue={thresholds.join(", ")}
            placeholder="500, 900"
          />
          <span className="hint">
            By the webhook <code>usage.threshold_reached</code>, once a month each.
          </span>
        </div>
        {put.error && <Problem failed={put.error} />}
        {may(me, "account:write") && (
          <div className="row">
            <button type="submit" className="button" disabled={put.isPending}>
              Save
            </button>
            <span role="status" className="small muted">
              {put.isSuccess ? "Saved." : ""}
            </span>
          </div>
        )}
      </form>
    </Card>
  );
}

/** Numbers as they were typed; what is none is told, not left out. */
function limits(form: FormData): { hard_cap_credits: number | null; threshold_credits: number[] } {
  const numbers = (name: string) =>
    String(form.get(name))
      .split(/[\s,]+/)
      .filter(Boolean)
      .map((text) => {
        const value = Number(text);
        if (!Number.isFinite(value)) throw new Failure(0, "number", `${text} is not a number of credits.`);
        return value;
      });
  return { hard_cap_credits: numbers("cap")[0] ?? null, threshold_credits: numbers("thresholds") };
}

function Credits() {
  const asked = useQuery({ queryKey: ["credits"], queryFn: () => taken(api.GET("/v1/billing/credits")) });
  const entries = useQuery({
    queryKey: ["credit_entries"],
    queryFn: async () =>
      (await taken(api.GET("/v1/billing/credit_entries", { params: { query: { limit: 10 } } }))).data,
  });
  if (!asked.data) return <Loading of={asked} />;
  const { balance_credits: balance, gated, grants } = asked.data;
  return (
    <Card title="Credits" flush>
      <div className="body">
        <dl className="pairs num">
          <dt>Balance</dt>
          <dd>
            <strong>{balance.toFixed(2)}</strong> {gated && <span className="tag">nothing begins without</span>}
          </dd>
          {grants.map((grant) => (
            <Grant key={grant.id} grant={grant} />
          ))}
        </dl>
        {!gated && grants.length === 0 && (
          <p className="muted small">This account needs no credits: it is billed for what it used.</p>
        )}
      </div>
      {entries.data && entries.data.length > 0 && (
        <table className="table">
          <tbody>
            {entries.data.map((entry) => (
              <tr key={entry.id}>
                <td>
                  {sentence(entry.kind)}
                  <div className="small muted">
                    <Time at={entry.at} />
                  </div>
                </td>
                <td className="right num">{entry.amount_credits.toFixed(2)}</td>
                <td className="right num muted">{entry.balance_credits.toFixed(2)}</td>
              </tr>
            ))}
          </tbody>
        </table>
      )}
    </Card>
  );
}

function Grant({ grant }: { grant: Schemas["GrantResource"] }) {
  return (
    <>
      <dt>{grant.note || "Grant"}</dt>
      <dd>
        {grant.left_credits.toFixed(2)} of {grant.granted_credits.toFixed(2)}
        {grant.expires_at && (
          <span className="small muted">
            {" "}
            until <Time at={grant.expires_at} />
          </span>
        )}
      </dd>
    </>
  );
}

const MOST_ENTRIES = 20_000;

/** All entries of the period, as they are in the ledger. */
function Csv({ usage }: { usage: Schemas["UsageSummary"] }) {
  const [read, setRead] = useState(0);
  const save = useMutation({
    mutationFn: async () => {
      const found: Entry[] = [];
      let starting_after: string | undefined;
      do {
        const { period_start, period_end } = usage;
        const query = { period_start, period_end, limit: 100, ...(starting_after ? { starting_after } : {}) };
        const page = await taken(api.GET("/v1/usage_events", { params: { query } }));
        found.push(...page.data);
        setRead(found.length);
        starting_after = page.next_cursor ?? undefined;
      } while (starting_after && found.length < MOST_ENTRIES);
      if (starting_after) {
        const advice = "`greenroom usage focus` writes them all.";
        throw new Failure(0, "too_many", `The period has more than ${count(MOST_ENTRIES)} entries. ${advice}`);
      }
      const link = document.createElement("a");
      link.href = URL.createObjectURL(new Blob([csv(found.reverse())], { type: "text/csv" }));
      link.download = `greenroom-usage-${usage.period_start.slice(0, 10)}.csv`;
      link.click();
      URL.revokeObjectURL(link.href);
    },
  });
  return (
    <>
      <button type="button" className="button" onClick={() => save.mutate()} disabled={save.isPending}>
        <Icon name="down" size={16} /> {save.isPending ? `${count(read)} entries…` : "CSV"}
      </button>
      {save.error && <Problem failed={save.error} />}
    </>
  );
}
