/** News take their place in what the pages show. */

import type { InfiniteData } from "@tanstack/react-query";
import { useEffect, useSyncExternalStore } from "react";
import type { Session } from "./api";
import { connection } from "./connection";
import { follow, type News } from "./feed";
import { client, ME } from "./queries";
import { later, type PageOfSessions, type Wanted, withNews } from "./sessions";

export const SESSIONS = "sessions";

/** `key`: whose news; null: they are not told. */
export function useNews(key: string | null): void {
  useEffect(() => {
    if (key === null) return;
    const missed = () => void client.invalidateQueries({ predicate: notMe });
    return follow(tell, missed, () => void client.invalidateQueries({ queryKey: ME }));
  }, [key]);
  useEffect(
    () =>
      connection.subscribe(() => {
        if (connection.state === "up") void client.invalidateQueries();
      }),
    [],
  );
}

export function useConnected(): boolean {
  return useSyncExternalStore(connection.subscribe, () => connection.state === "up");
}

function notMe(query: { queryKey: readonly unknown[] }): boolean {
  return query.queryKey[0] !== ME[0];
}

/** The latest of each session that news were of, since some of what is asked for meanwhile is older. */
export const told = new Map<string, Session>();
const MOST_TOLD = 2_000;

function keep(session: Session): void {
  const known = told.get(session.id);
  told.delete(session.id);
  told.set(session.id, known ? later(known, session) : session);
  for (const id of told.keys()) {
    if (told.size <= MOST_TOLD) break;
    told.delete(id);
  }
}

function tell(news: News): void {
  if (news.type.startsWith("session.")) {
    const session = news.data as Session;
    keep(session);
    for (const [key, known] of client.getQueriesData<InfiniteData<PageOfSessions>>({ queryKey: [SESSIONS] })) {
      if (known) client.setQueryData(key, { ...known, pages: withNews(known.pages, session, key[1] as Wanted) });
    }
    client.setQueryData<Session>(["session", session.id], (known) => known && later(known, session));
    void client.invalidateQueries({ queryKey: ["session", session.id] });
    void client.invalidateQueries({ queryKey: ["quota"] });
  } else if (news.type.startsWith("avatar.")) {
    void client.invalidateQueries({ queryKey: ["avatars"] });
  } else if (news.type.startsWith("usage.")) {
    void client.invalidateQueries({ queryKey: ["limits"] });
  } else {
    void client.invalidateQueries({ queryKey: ["endpoints"] });
  }
}
