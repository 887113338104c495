import { useMutation, useQuery } from "@tanstack/react-query";
import { lazy, Suspense, useMemo } from "react";
import {
  AUDIT,
  type Audit,
  askAudit,
  beginAudit,
  type Look,
  letters,
  look,
  type Of,
  type Verdict,
} from "../data/operator";
import { client } from "../data/queries";
import { clock, count, credits, seconds, sentence, short } from "../data/words";
import { Badge, Card, Columns, Copy, Empty, Figure, Head, Loading, Problem, Time } from "../parts/basic";
import { Icon } from "../parts/icon";
import { ParkedCard } from "./parked";

const Chart = lazy(() => import("../parts/chart"));

/** Of lag: a projection that is further behind than this is told. */
const MANY = 1000;
const SILENT_MS = 5_000;

const sum = (counts: Record<string, number>) => Object.values(counts).reduce((all, n) => all + n, 0);

export default function Operator() {
  const asked = useQuery(look);
  return (
    <>
      <Head title="Operations">
        <p>All accounts. {asked.data && <span className="num">As of {clock(asked.data.live.at_ms)}.</span>}</p>
      </Head>
      {asked.error && <Problem failed={asked.error} again={() => void asked.refetch()} />}
      {asked.data ? <Shown look={asked.data} /> : <Loading of={asked} />}
    </>
  );
}

function Shown({ look }: { look: Look }) {
  const { now } = look.live;
  const most = Math.max(0, ...(look.lag ?? []).map((each) => each.events));
  return (
    <>
      <dl className="stats card">
        <Figure name="Live sessions">{count(sum(now.active))}</Figure>
        <Figure name="Slots">
          {count(look.slots.free)} free <span className="sub">of {count(look.slots.all)}</span>
        </Figure>
        <Figure name="First frame, p95">
          {now.first_frame.p95_ms === null ? "–" : seconds(now.first_frame.p95_ms)}
        </Figure>
        <Figure name="Furthest behind">
          {look.lag === null ? "Kafka is away" : count(most)} {look.lag && <span className="sub">events</span>}
        </Figure>
        <Figure name="Parked">{count(look.parked_count)}</Figure>
      </dl>
      <div className="split">
        <div className="column">
          <Minutes look={look} />
          <Workers look={look} />
          <Windows title="Accounts, five minutes" rows={look.live.accounts} />
        </div>
        <div className="column">
          <AuditCard />
          <Lag look={look} />
          <ParkedCard look={look} />
          <Letters />
        </div>
      </div>
    </>
  );
}

function Minutes({ look }: { look: Look }) {
  const { minutes } = look.live;
  const times = useMemo(() => minutes.map((each) => each.from_ms), [minutes]);
  const lines = useMemo(
    () => [
      { name: "Live", colour: "--mark-running", values: minutes.map((each) => sum(each.active)), unit: "sessions" },
      { name: "Starts", colour: "--mark-starting", values: minutes.map((each) => each.starts), unit: "" },
    ],
    [minutes],
  );
  return (
    <Card title="The last fifteen minutes">
      <Suspense fallback={<div className="skeleton" />}>
        <Chart times={times} lines={lines} label="Live sessions and starts by minute" />
      </Suspense>
    </Card>
  );
}

function Workers({ look }: { look: Look }) {
  return (
    <Card title="Workers" flush>
      {look.workers.length === 0 ? (
        <Empty icon="video" title="No worker is registered">
          <p>
            Creates answer 503 at_capacity until one is: start <code>greenroom worker</code>.
          </p>
        </Empty>
      ) : (
        <div className="scroll">
          <table className="table">
            <Columns of={["Worker", "Phase", "Held", "Qualities", "Silent for"]} />
            <tbody>
              {look.workers.map((each) => (
                <tr key={each.worker_id}>
                  <td>
                    <Copy text={each.worker_id} shown={short(each.worker_id)} />
                  </td>
                  <td>
                    <Badge status={each.phase} />
                  </td>
                  <td className="num">
                    {each.held} of {each.slots}
                  </td>
                  <td>{each.qualities.join(", ")}</td>
                  <td className="num">
                    {each.silent_ms === null ? (
                      <span className="muted">not told</span>
                    ) : each.silent_ms > SILENT_MS ? (
                      <span className="badge red">{seconds(each.silent_ms)}</span>
                    ) : (
                      seconds(each.silent_ms)
                    )}
                  </td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
    </Card>
  );
}

function Windows({ title, rows }: { title: string; rows: Of[] }) {
  return (
    <Card title={title} flush>
      {rows.length === 0 ? (
        <Empty icon="usage" title="Nothing in the last five minutes" />
      ) : (
        <div className="scroll">
          <table className="table">
            <Columns of={["Account", "Starts", "Live", "First frame p95", "Billed", "Failed"]} />
            <tbody>
              {rows.map(({ key, window }) => (
                <tr key={key} className="num">
                  <td>
                    <code>{short(key)}</code>
                  </td>
                  <td>{count(window.starts)}</td>
                  <td>{count(sum(window.active))}</td>
                  <td>{window.first_frame.p95_ms === null ? "–" : seconds(window.first_frame.p95_ms)}</td>
                  <td>{seconds(window.billable_ms)}</td>
                  <td>{count(sum(window.failures))}</td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
    </Card>
  );
}

function Lag({ look }: { look: Look }) {
  return (
    <Card title="Behind the log" flush>
      {look.lag === null ? (
        <Empty icon="warn" title="Kafka does not answer">
          <p>What is committed is safe. Creates answer 503 until it is back.</p>
        </Empty>
      ) : (
        <table className="table">
          <tbody>
            {look.lag.map((each) => (
              <tr key={`${each.consumer} ${each.topic}`}>
                <td>{each.consumer}</td>
                <td className="muted">{each.topic}</td>
                <td className="right num">
                  {each.events > MANY ? <span className="badge red">{count(each.events)}</span> : count(each.events)}
                </td>
              </tr>
            ))}
          </tbody>
        </table>
      )}
    </Card>
  );
}

function Letters() {
  const asked = useQuery(letters);
  return (
    <Card title="Dead letters" flush>
      {!asked.data ? (
        <Loading of={asked} />
      ) : asked.data.data.length === 0 ? (
        <Empty icon="check" title="No dead letter">
          <p>Records that can never be read would be copied here, with their place and the reason.</p>
        </Empty>
      ) : (
        <table className="table">
          <tbody>
            {asked.data.data.map((each) => (
              <tr key={each.number}>
                <td>
                  {each.reason}
                  <div className="small muted">
                    {each.topic}, partition {each.partition}, offset {each.offset}
                  </div>
                </td>
                <td className="right small muted">
                  <Time at={each.copied_at} />
                </td>
              </tr>
            ))}
          </tbody>
        </table>
      )}
    </Card>
  );
}

function AuditCard() {
  const asked = useQuery({
    queryKey: AUDIT,
    queryFn: askAudit,
    refetchInterval: ({ state }) => (state.data?.status === "running" ? 500 : false),
  });
  const begin = useMutation({
    mutationFn: beginAudit,
    onSuccess: (begun: Audit) => client.setQueryData(AUDIT, begun),
  });
  const audit = asked.data;
  const running = audit?.status === "running";
  return (
    <Card
      title="Audit"
      actions={
        <button
          type="button"
          className="button primary"
          onClick={() => begin.mutate()}
          disabled={running || begin.isPending}
        >
          <Icon name="shield" size={16} /> {running ? "Auditing…" : "Audit everything"}
        </button>
      }
    >
      <div className="stack" aria-live="polite">
        {begin.error && <Problem failed={begin.error} />}
        {(!audit || audit.status === "never") && (
          <p className="muted">
            Recomputes every bill from the log, and compares it with the ledger, its days and its totals.
          </p>
        )}
        {running && (
          <>
            <progress value={audit.done ?? 0} max={Math.max(1, audit.total ?? 1)} aria-label="How far the audit is" />
            <p className="muted num">
              {count(audit.done ?? 0)} of {count(audit.total ?? 0)} events
            </p>
          </>
        )}
        {audit?.failed && (
          <div className="verdict amber">
            <Icon name="warn" size={24} />
            <div>
              <strong>No verdict</strong>
              {audit.failed}
            </div>
          </div>
        )}
        {audit?.verdict && !running && <Found verdict={audit.verdict} at={audit.ended_at} />}
      </div>
    </Card>
  );
}

function Found({ verdict, at }: { verdict: Verdict; at: string | undefined }) {
  return (
    <>
      <div className={`verdict ${verdict.equal ? "green" : "red"}`} data-verdict={verdict.equal ? "equal" : "differs"}>
        <Icon name={verdict.equal ? "shield" : "cross"} size={24} />
        <div>
          <strong>
            {verdict.equal ? "The ledger equals the log" : `It differs in ${count(verdict.found)} places`}
          </strong>
          {count(verdict.entries)} entries of {count(verdict.sessions)} sessions, {credits(verdict.credit_us)} credits,
          from {count(verdict.events)} events{at && <>, at {clock(at)}</>}.
          {verdict.unread > 0 && ` ${count(verdict.unread)} sessions could not be read.`}
        </div>
      </div>
      {verdict.differences.length > 0 && (
        <ul className="stack small">
          {verdict.differences.map((each) => (
            <li key={`${each.kind} ${each.of} ${each.detail}`}>
              <strong>{sentence(each.kind)}</strong> <code>{each.of}</code>
              <div className="muted">{each.detail}</div>
            </li>
          ))}
        </ul>
      )}
    </>
  );
}
