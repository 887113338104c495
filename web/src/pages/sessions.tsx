import { type InfiniteData, replaceEqualDeep, useInfiniteQuery, useQuery } from "@tanstack/react-query";
import { useVirtualizer } from "@tanstack/react-virtual";
import { useEffect, useMemo, useRef, useState, useSyncExternalStore } from "react";
import { Link } from "wouter";
import { type Avatar, api, type Session, taken } from "../data/api";
import { SESSIONS, told } from "../data/live";
import { avatars, quota } from "../data/queries";
import { EVERYTHING, isLive, matches, notBack, type PageOfSessions, query, type Wanted } from "../data/sessions";
import { now } from "../data/time";
import { count, seconds, short } from "../data/words";
import { Badge, Empty, Head, Loading, Problem, Segmented, Time } from "../parts/basic";
import { Icon } from "../parts/icon";

const PAGE = 100;
const MOST_SEARCHED = 5_000;
const STATUSES = [
  ["all", "All"],
  ["active", "Live"],
  ["ended", "Ended"],
  ["failed", "Failed"],
  ["canceled", "Canceled"],
] as const;

type Loaded = InfiniteData<PageOfSessions, string>;

export function Sessions() {
  const [wanted, setWanted] = useState<Wanted>(EVERYTHING);
  const [text, setText] = useState("");
  const asked = useInfiniteQuery({
    queryKey: [SESSIONS, wanted],
    queryFn: ({ pageParam, signal }) => {
      const asked = { ...query(wanted, now()), limit: PAGE, ...(pageParam ? { starting_after: pageParam } : {}) };
      return taken(api.GET("/v1/sessions", { params: { query: asked as never }, signal }));
    },
    initialPageParam: "",
    getNextPageParam: (page) => page.next_cursor ?? undefined,
    // News come by themselves, and of what was scrolled to each page would be asked for again.
    refetchOnWindowFocus: false,
    structuralSharing: (before, fresh) => replaceEqualDeep(before, notBack(fresh as Loaded, told, wanted)),
    refetchInterval: (query) => (query.state.data && query.state.data.pages.length === 1 ? 30_000 : false),
  });
  const loaded = useMemo(() => asked.data?.pages.flatMap((page) => page.data) ?? [], [asked.data]);
  const shown = useMemo(() => loaded.filter((each) => matches(each, text)), [loaded, text]);

  // Whoever searches looks at more than what was scrolled to.
  const { hasNextPage, isFetching, fetchNextPage } = asked;
  const searching = text.trim() !== "" && hasNextPage && loaded.length < MOST_SEARCHED;
  useEffect(() => {
    if (searching && !isFetching) void fetchNextPage();
  }, [searching, isFetching, fetchNextPage]);

  return (
    <>
      <Head
        title="Sessions"
        actions={
          <Link href="/talk" className="button primary">
            <Icon name="plus" size={16} /> New session
          </Link>
        }
      >
        <Held />
      </Head>
      <div className="toolbar">
        <div className="search">
          <Icon name="search" size={16} />
          <input
            className="input"
            type="search"
            aria-label="Search sessions"
            placeholder="Search id, room, identity, metadata"
            value={text}
            onChange={(event) => setText(event.target.value)}
          />
        </div>
        <Segmented
          label="Status"
          value={wanted.status}
          options={STATUSES}
          onChange={(status) => setWanted({ ...wanted, status })}
        />
        <AvatarFilter value={wanted.avatar} onChange={(avatar) => setWanted({ ...wanted, avatar })} />
        <select
          className="input"
          aria-label="Created"
          value={wanted.within}
          onChange={(event) => setWanted({ ...wanted, within: event.target.value as Wanted["within"] })}
        >
          <option value="any">Any time</option>
          <option value="1h">Last hour</option>
          <option value="24h">Last 24 hours</option>
          <option value="7d">Last 7 days</option>
        </select>
      </div>
      {asked.error && asked.data && <Problem failed={asked.error} again={() => void asked.refetch()} />}
      {!asked.data ? (
        <Loading of={asked} />
      ) : (
        <div className="card">
          {shown.length ? (
            <List sessions={shown} more={hasNextPage} onEnd={() => !isFetching && void fetchNextPage()} />
          ) : (
            <Nothing text={text} wanted={wanted} searching={searching} />
          )}
          <div className="footnote" role="status">
            <span className="num">
              {text ? `${count(shown.length)} of ${count(loaded.length)} looked at` : `${count(loaded.length)} loaded`}
              {hasNextPage ? (searching ? ", looking further…" : ", more as you scroll") : ""}
            </span>
            <span>Newest first</span>
          </div>
        </div>
      )}
    </>
  );
}

function Held() {
  const { data } = useQuery(quota);
  return (
    <p className="num">
      {data
        ? `${count(data.concurrent_sessions.used)} of ${count(data.concurrent_sessions.limit)} live at once`
        : "Every avatar that joined a room"}
    </p>
  );
}

function AvatarFilter({ value, onChange }: { value: string; onChange: (value: string) => void }) {
  const { data } = useQuery(avatars);
  return (
    <select className="input" aria-label="Avatar" value={value} onChange={(event) => onChange(event.target.value)}>
      <option value="">All avatars</option>
      {data?.map((each) => (
        <option key={each.id} value={each.id}>
          {each.name}
        </option>
      ))}
    </select>
  );
}

function Nothing({ text, wanted, searching }: { text: string; wanted: Wanted; searching: boolean }) {
  if (searching) return <Empty icon="search" title="Looking through your sessions…" />;
  if (text || JSON.stringify(wanted) !== JSON.stringify(EVERYTHING)) {
    return (
      <Empty icon="search" title="No session fits">
        <p>Take a filter away, or search for something shorter: a part of the id, room or metadata is enough.</p>
      </Empty>
    );
  }
  return (
    <Empty icon="sessions" title="No session yet">
      <p>Create one with POST /v1/sessions, or talk to an avatar right here.</p>
      <Link href="/talk" className="button">
        Talk to an avatar
      </Link>
    </Empty>
  );
}

const phone = matchMedia("(max-width: 760px)");
const subscribe = (changed: () => void) => {
  phone.addEventListener("change", changed);
  return () => phone.removeEventListener("change", changed);
};

/** Only the rows that are seen are there, however many are loaded. */
function List({ sessions, more, onEnd }: { sessions: Session[]; more: boolean; onEnd: () => void }) {
  const narrow = useSyncExternalStore(subscribe, () => phone.matches);
  const box = useRef<HTMLDivElement>(null);
  const named = useQuery({ ...avatars, select: namesOf }).data;
  const rows = useVirtualizer({
    count: sessions.length,
    getScrollElement: () => box.current,
    estimateSize: () => (narrow ? 64 : 46),
    overscan: 12,
    getItemKey: (n) => sessions[n]?.id ?? n,
  });
  const items = rows.getVirtualItems();
  const last = items.at(-1)?.index ?? 0;
  useEffect(() => {
    if (more && last >= sessions.length - 20) onEnd();
  }, [more, last, sessions.length, onEnd]);
  return (
    <div className="sessions" role="table" aria-label="Sessions" aria-rowcount={more ? -1 : sessions.length + 1}>
      <div role="rowgroup">
        <div role="row" className="titles" aria-rowindex={1}>
          {["Status", "Session", "Room", "Avatar", "Quality", "Created", "Length"].map((name) => (
            <div key={name} role="columnheader" className={name === "Length" ? "right" : ""}>
              {name}
            </div>
          ))}
        </div>
      </div>
      <div className="list" ref={box} role="rowgroup" tabIndex={0} aria-label="Rows">
        <div className="rows" role="presentation" style={{ height: rows.getTotalSize() }}>
          {items.map((item) => {
            const session = sessions[item.index];
            return (
              session && (
                <Row
                  key={item.key}
                  session={session}
                  avatar={named?.get(session.avatar_id)}
                  n={item.index}
                  top={item.start}
                />
              )
            );
          })}
        </div>
      </div>
    </div>
  );
}

function namesOf(found: Avatar[]): Map<string, string> {
  return new Map(found.map((each) => [each.id, each.name]));
}

type RowOf = { session: Session; avatar: string | undefined; n: number; top: number };

function Row({ session, avatar, n, top }: RowOf) {
  return (
    <div role="row" aria-rowindex={n + 2} style={{ transform: `translateY(${top}px)` }}>
      <Cell name="status">
        <Badge status={session.status} />
      </Cell>
      <Cell name="name">
        <Link className="whole mono" href={`/sessions/${session.id}`} title={session.id}>
          {short(session.id)}
        </Link>
      </Cell>
      <Cell name="room" title={session.transport.room_name}>
        {session.transport.room_name}
      </Cell>
      <Cell name="wide" title={session.avatar_id}>
        {avatar ?? short(session.avatar_id)}
      </Cell>
      <Cell name="wide">
        <span className="tag">{session.quality}</span>
      </Cell>
      <Cell name="when">
        <Time at={session.created_at} />
      </Cell>
      <Cell name="wide right num">{length(session)}</Cell>
    </div>
  );
}

function Cell({ name, title, children }: { name: string; title?: string; children: React.ReactNode }) {
  return (
    <div role="cell" className={name} title={title}>
      {children}
    </div>
  );
}

function length(session: Session): string {
  if (isLive(session)) return "live";
  const end = session.ended_at ?? session.failed_at;
  return end ? seconds(Math.max(0, Date.parse(end) - Date.parse(session.created_at))) : "–";
}
