/** The list of sessions: what is asked for, and what news make of the pages that are loaded. Pure. */

import type { Session, Status } from "./api";

export type Wanted = {
  status: "all" | "active" | "ended" | "failed" | "canceled";
  avatar: string;
  within: "any" | "1h" | "24h" | "7d";
};

export const EVERYTHING: Wanted = { status: "all", avatar: "", within: "any" };

export type PageOfSessions = { data: Session[]; has_more: boolean; next_cursor: string | null };

const ACTIVE: readonly Status[] = ["created", "queued", "starting", "running", "ending"];
const HOURS = { "1h": 1, "24h": 24, "7d": 168 } as const;

export function isLive(session: Pick<Session, "status">): boolean {
  return ACTIVE.includes(session.status);
}

/** `now`: epoch ms, of the API. */
export function query(wanted: Wanted, now: number): { status?: string[]; avatar_id?: string; created_after?: string } {
  return {
    ...(wanted.status === "all" ? {} : { status: [wanted.status] }),
    ...(wanted.avatar ? { avatar_id: wanted.avatar } : {}),
    ...(wanted.within === "any"
      ? {}
      : { created_after: new Date(now - HOURS[wanted.within] * 3_600_000).toISOString() }),
  };
}

export function fits(session: Session, wanted: Wanted): boolean {
  const status = wanted.status === "active" ? isLive(session) : [session.status, "all"].includes(wanted.status);
  return status && (!wanted.avatar || session.avatar_id === wanted.avatar);
}

/** News of a session: it takes its place, joins at the top, or leaves a list that it does not fit any more. Ids of
 * sessions sort by their time, so where it belongs is known. */
export function withNews(pages: PageOfSessions[], news: Session, wanted: Wanted): PageOfSessions[] {
  const known = pages.some((page) => page.data.some((each) => each.id === news.id));
  if (known) {
    const data = (page: PageOfSessions) =>
      fits(news, wanted)
        ? page.data.map((each) => (each.id === news.id ? later(each, news) : each))
        : page.data.filter((each) => each.id !== news.id);
    return pages.map((page) => ({ ...page, data: data(page) }));
  }
  const [first, ...others] = pages;
  const newest = first?.data[0];
  if (!first || !fits(news, wanted) || (newest && news.id < newest.id)) return pages;
  return [{ ...first, data: [news, ...first.data] }, ...others];
}

const ORDER: Record<Status, number> = {
  created: 0,
  queued: 1,
  starting: 2,
  running: 3,
  ending: 4,
  ended: 5,
  failed: 5,
  canceled: 5,
};

/** A status never goes back: what was asked for meanwhile may be newer than the news. */
export function later(known: Session, news: Session): Session {
  return ORDER[news.status] < ORDER[known.status] ? known : news;
}

/** What was asked for before `told` was heard is no news any more: no status goes back, none comes back to a list. */
export function notBack<T extends { pages: PageOfSessions[] }>(
  fresh: T,
  told: ReadonlyMap<string, Session>,
  wanted: Wanted,
): T {
  const newest = (each: Session) => later(told.get(each.id) ?? each, each);
  const pages = fresh.pages.map((page) => {
    const data = page.data.map(newest).filter((each) => !told.has(each.id) || fits(each, wanted));
    return { ...page, data };
  });
  return { ...fresh, pages };
}

/** What somebody would look for: id, room, identity, avatar, and what is in the metadata. */
export function matches(session: Session, text: string): boolean {
  const found = text.trim().toLowerCase();
  if (!found) return true;
  const { id, avatar_id, transport, metadata } = session;
  const fields = [id, avatar_id, transport.room_name, transport.worker_identity];
  for (const [name, value] of Object.entries(metadata)) fields.push(name, String(value));
  return fields.some((field) => field.toLowerCase().includes(found));
}
