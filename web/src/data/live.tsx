/** News take their place in what the pages show. */

import type { InfiniteData } from "@tanstack/react-query";
import { useEffect, useSyncExternalStore } from "react";
import type { Session } from "./api";
import { connection } from "./connection";
import { follow, type News } from "./feed";
import { client, ME } from "./queries";
import { later, type PageOfSessions, type Wanted, withNews } from "./sessions";

export const SESSIONS = "sessions";

export function useNews(wanted: boolean): void {
  useEffect(
    () => (wanted ? follow(told, () => void client.invalidateQueries({ predicate: notMe })) : undefined),
    [wanted],
  );
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

function told(news: News): void {
  if (news.type.startsWith("session.")) {
    const session = news.data as Session;
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
