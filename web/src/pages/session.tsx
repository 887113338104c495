import { useMutation, useQuery } from "@tanstack/react-query";
import { lazy, Suspense, useEffect, useRef, useState } from "react";
import { Link } from "wouter";
import { api, type Me, may, type Session, taken } from "../data/api";
import {
  client,
  type Delivery,
  deliveriesOf,
  type Entry,
  endpoints,
  entries,
  type Happened,
  history,
  session,
  timeline,
} from "../data/queries";
import { isLive, later } from "../data/sessions";
import { clock, count, credits, seconds, sentence } from "../data/words";
import { Badge, Card, Copy, Empty, Figure, Head, Loading, Pair, Problem, Sure, Time } from "../parts/basic";
import { Icon } from "../parts/icon";
import { JsonView } from "../parts/json";
import { BillCard } from "../proof/card";
import { keyOf, picture } from "../timeline/model";
import { Legend, Timeline } from "../timeline/timeline";

const Watch = lazy(() => import("../room/watch"));

const LOOK_MS = 3000;
const NO_HAPPENED: Happened[] = [];
const NO_ENTRIES: Entry[] = [];
const NO_DELIVERIES: Delivery[] = [];

/** What goes on is looked at every some seconds: nobody tells of heartbeats. */
function live(shown: Session | undefined): number | false {
  return shown === undefined || isLive(shown) ? LOOK_MS : false;
}

export default function SessionPage({ id, me }: { id: string; me: Me }) {
  const asked = useQuery({ ...session(id), refetchInterval: ({ state }) => live(state.data) });
  const shown = asked.data;
  const every = { refetchInterval: live(shown), enabled: shown !== undefined };
  const told = {
    timeline: useQuery({ ...timeline(id), ...every }).data,
    history: useQuery({ ...history(id), ...every }).data ?? NO_HAPPENED,
    entries:
      useQuery({ ...entries(id), ...every, enabled: every.enabled && may(me, "account:read") }).data ?? NO_ENTRIES,
    deliveries:
      useQuery({ ...deliveriesOf(id), ...every, enabled: every.enabled && may(me, "webhooks:read") }).data ??
      NO_DELIVERIES,
  };
  const [watching, setWatching] = useState(false);
  const [chosen, setChosen] = useState<string | null>(null);
  if (!shown) return <Loading of={asked} />;
  return (
    <>
      <Head
        from={["/", "Sessions"]}
        title={
          <span className="row title">
            <Copy text={shown.id} /> <Badge status={shown.status} />
          </span>
        }
        actions={
          <>
            {isLive(shown) && may(me, "sessions:write") && (
              <button type="button" className="button" onClick={() => setWatching(!watching)} aria-pressed={watching}>
                <Icon name="video" size={16} /> {watching ? "Stop watching" : "Watch"}
              </button>
            )}
            {isLive(shown) && may(me, "sessions:write") && <End session={shown} />}
          </>
        }
      />
      {asked.error && <Problem failed={asked.error} again={() => void asked.refetch()} />}
      {shown.failure && (
        <div className="notice red" role="status">
          <Icon name="warn" />
          <div>
            <strong>{sentence(shown.failure.code)}.</strong> {shown.failure.message}
          </div>
        </div>
      )}
      <Figures session={shown} timeline={told.timeline} entries={told.entries} />
      {watching && isLive(shown) && (
        <Suspense fallback={<div className="skeleton" />}>
          <Watch session={shown} me={me} />
        </Suspense>
      )}
      <PictureCard session={shown} told={told} onChosen={setChosen} />
      <div className="split">
        <div className="column">
          <Events history={told.history} chosen={chosen} />
          {may(me, "webhooks:read") && <Webhooks deliveries={told.deliveries} me={me} />}
        </div>
        <div className="column">
          {may(me, "account:read") && <BillCard id={id} entries={told.entries} />}
          <About session={shown} timeline={told.timeline} />
        </div>
      </div>
    </>
  );
}

type Told = Omit<Parameters<typeof picture>[0], "session">;

function PictureCard({ session, told, onChosen }: { session: Session; told: Told; onChosen: (key: string) => void }) {
  const now = useNow(isLive(session), told.history);
  return (
    <Card title="Timeline" flush actions={<Legend />}>
      <Timeline picture={picture({ session, ...told }, now)} onChosen={onChosen} />
    </Card>
  );
}

/** The server's clock, as its last event has it, and what has passed since it was heard: this machine's may be wrong. */
function useNow(live: boolean, history: Happened[]): number {
  const heard = useRef({ last: 0, at: 0 });
  const last = Date.parse(history.at(-1)?.occurred_at ?? "") || 0;
  if (last !== heard.current.last) heard.current = { last, at: performance.now() };
  const [, tick] = useState(0);
  useEffect(() => {
    if (!live) return;
    const timer = setInterval(() => tick((n) => n + 1), 1000);
    return () => clearInterval(timer);
  }, [live]);
  if (!last) return 0;
  return heard.current.last + Math.floor((performance.now() - heard.current.at) / 1000) * 1000;
}

function Figures({ session, timeline, entries }: { session: Session; timeline: Told["timeline"]; entries: Entry[] }) {
  const us = entries.reduce((total, entry) => total + entry.credit_us, 0);
  const first = timeline?.latencies_ms.first_frame;
  const tries = timeline?.attempts.length;
  return (
    <dl className="stats card">
      <Figure name="Billed">
        {seconds(session.usage.billable_seconds * 1000)} {us > 0 && <span className="sub">{credits(us)} credits</span>}
      </Figure>
      <Figure name="First frame">{first == null ? "–" : seconds(first)}</Figure>
      <Figure name="Frames">
        {count(session.usage.frames)}{" "}
        {timeline && timeline.late_frames > 0 && <span className="sub">{count(timeline.late_frames)} late</span>}
      </Figure>
      <Figure name="Attempts">{tries ?? "–"}</Figure>
      <Figure name="Ended by">
        {timeline?.ended_by ? sentence(timeline.ended_by) : "–"}{" "}
        {timeline?.end_reason && <span className="sub">{sentence(timeline.end_reason).toLowerCase()}</span>}
      </Figure>
    </dl>
  );
}

function End({ session }: { session: Session }) {
  const [asking, setAsking] = useState(false);
  const end = useMutation({
    mutationFn: () =>
      taken(api.POST("/v1/sessions/{session_id}/end", { params: { path: { session_id: session.id } } })),
    onSuccess: (ended) => {
      client.setQueryData<Session>(["session", session.id], (known) => known && later(known, ended));
      setAsking(false);
    },
  });
  return (
    <>
      <button type="button" className="button danger" onClick={() => setAsking(true)}>
        <Icon name="stop" size={16} /> End
      </button>
      {asking && (
        <Sure
          title="End this session?"
          verb="End it"
          busy={end.isPending}
          onYes={() => end.mutate()}
          onNo={() => setAsking(false)}
        >
          The avatar leaves the room {session.transport.room_name}. What was billed so far stays.
          {end.error && <Problem failed={end.error} />}
        </Sure>
      )}
    </>
  );
}

function Events({ history, chosen }: { history: Happened[]; chosen: string | null }) {
  const [open, setOpen] = useState<string | null>(null);
  const [beats, setBeats] = useState(false);
  const list = useRef<HTMLUListElement>(null);
  const shown = beats ? history : history.filter((each) => each.seq !== null);
  useEffect(() => {
    const row = chosen && list.current?.querySelector(`[data-key="${CSS.escape(chosen)}"]`);
    if (row instanceof HTMLElement && list.current)
      list.current.scrollTop = row.offsetTop - list.current.offsetTop - 80;
  }, [chosen]);
  return (
    <Card
      title="Events"
      flush
      actions={
        <label className="row small">
          <input type="checkbox" checked={beats} onChange={(event) => setBeats(event.target.checked)} /> Heartbeats
        </label>
      }
    >
      {shown.length === 0 && (
        <Empty icon="sessions" title="Nothing has happened yet">
          <p>What happens to the session is written here as it happens.</p>
        </Empty>
      )}
      <ul className="events" ref={list}>
        {shown.map((each) => {
          const key = keyOf(each);
          return (
            <li key={key} data-key={key}>
              <button
                type="button"
                aria-expanded={open === key}
                aria-current={chosen === key ? "true" : undefined}
                onClick={() => setOpen(open === key ? null : key)}
              >
                <span className="mono muted">{clock(each.occurred_at, true)}</span>
                <span>{sentence(each.type)}</span>
                <span className="tag mono">{each.seq === null ? `n ${each.n}` : `seq ${each.seq}`}</span>
              </button>
              {open === key && <JsonView data={each} label={each.type} />}
            </li>
          );
        })}
      </ul>
    </Card>
  );
}

function About({ session, timeline }: { session: Session; timeline: Told["timeline"] }) {
  const { transport, metadata } = session;
  const latencies = Object.entries(timeline?.latencies_ms ?? {}).filter(
    (each): each is [string, number] => each[1] !== null,
  );
  return (
    <Card title="Details">
      <dl className="pairs">
        <dt>Avatar</dt>
        <dd>
          <code>{session.avatar_id}</code> <span className="tag">{session.quality}</span>
        </dd>
        <dt>Room</dt>
        <dd>{transport.room_name}</dd>
        <dt>LiveKit</dt>
        <dd>{transport.url}</dd>
        <dt>Identity</dt>
        <dd>{transport.worker_identity}</dd>
        <dt>Created</dt>
        <dd>
          <Time at={session.created_at} />
        </dd>
        <dt>Limits</dt>
        <dd>
          {seconds(session.max_duration_seconds * 1000)}, idle {seconds(session.idle_timeout_seconds * 1000)}
        </dd>
        {latencies.map(([name, ms]) => (
          <Pair key={name} name={sentence(name)}>
            <span className="num">{seconds(ms)}</span>
          </Pair>
        ))}
        {Object.entries(metadata).map(([name, value]) => (
          <Pair key={`metadata ${name}`} name={name}>
            {String(value)}
          </Pair>
        ))}
      </dl>
    </Card>
  );
}

function hostsOf(found: { id: string; url: string }[]): Map<string, string> {
  return new Map(found.map((each) => [each.id, URL.canParse(each.url) ? new URL(each.url).host : each.url]));
}

function Webhooks({ deliveries, me }: { deliveries: Delivery[]; me: Me }) {
  const again = useMutation({
    mutationFn: (delivery_id: string) =>
      taken(api.POST("/v1/webhook_deliveries/{delivery_id}/redeliver", { params: { path: { delivery_id } } })),
    onSettled: () => client.invalidateQueries({ queryKey: ["session"] }),
  });
  const hosts = useQuery({ ...endpoints, select: hostsOf }).data;
  return (
    <Card title="Webhooks" flush>
      {again.error && <Problem failed={again.error} />}
      {deliveries.length === 0 ? (
        <Empty icon="webhooks" title="No webhook was sent">
          <p>An endpoint that subscribes to session.* is told of each step.</p>
          <Link href="/webhooks" className="button tiny">
            Add an endpoint
          </Link>
        </Empty>
      ) : (
        <div className="scroll">
          <table className="table">
            <tbody>
              {deliveries.map((each) => (
                <tr key={each.id}>
                  <td>
                    <Link href={`/webhooks/${each.endpoint_id}`}>{sentence(each.type)}</Link>
                    <div className="small muted">
                      {hosts?.get(each.endpoint_id) ?? "an endpoint that is gone"} ·{" "}
                      {each.attempts === 1 ? "1 attempt" : `${each.attempts} attempts`} · <Time at={each.created_at} />
                    </div>
                  </td>
                  <td>
                    <Badge status={each.status} />
                  </td>
                  <td className="right">
                    {may(me, "webhooks:write") && (
                      <button
                        type="button"
                        className="button tiny"
                        disabled={again.isPending}
                        onClick={() => again.mutate(each.id)}
                      >
                        Redeliver
                      </button>
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
