/** Everything that the pages look at: what it is called, and how it is asked for. */

import { QueryClient, queryOptions } from "@tanstack/react-query";
import { api, Failure, type Me, ours, type Schemas, taken } from "./api";
import { caughtUp, type Grown, grown, type Page } from "./growing";

/** Items at a time, the most that the API gives. */
const PAGE = 100;

export const client = new QueryClient({
  defaultOptions: {
    queries: {
      staleTime: 5_000,
      retry: (count, failed) => failed instanceof Failure && failed.passes && failed.status !== 0 && count < 4,
      retryDelay: (count) => Math.min(8_000, 400 * 2 ** count),
      // Whether the network is there says nothing of an API on this machine.
      networkMode: "always",
    },
    mutations: { networkMode: "always" },
  },
});

export const ME = ["me"];

/** What was asked for by one key is nothing for another. */
export function forget(): void {
  client.removeQueries({ predicate: (query) => query.queryKey[0] !== ME[0] });
  client.getMutationCache().clear();
}

let speaking: string | undefined;

/** Another window may have logged in with another key: the cookie is the same for all. */
export function speaksFor(found: Me): Me {
  if (speaking !== undefined && speaking !== found.key_id) forget();
  speaking = found.key_id;
  return found;
}

export const me = queryOptions({
  queryKey: ME,
  queryFn: async () => speaksFor(await ours<Me>("GET", "me")),
  staleTime: 60_000,
  refetchInterval: 60_000,
});

export const account = queryOptions({
  queryKey: ["account"],
  queryFn: () => taken(api.GET("/v1/account")),
  staleTime: 60_000,
});

export const quota = queryOptions({
  queryKey: ["quota"],
  queryFn: () => taken(api.GET("/v1/billing/quota")),
});

export const capacity = queryOptions({
  queryKey: ["capacity"],
  queryFn: () => taken(api.GET("/v1/capacity")),
  refetchInterval: 5_000,
});

export const status = queryOptions({
  queryKey: ["status"],
  queryFn: () => taken(api.GET("/v1/status")),
  refetchInterval: 15_000,
});

export const avatars = queryOptions({
  queryKey: ["avatars"],
  queryFn: async () => {
    const found: Schemas["AvatarResource"][] = [];
    let starting_after: string | undefined;
    do {
      const query = { limit: PAGE, ...(starting_after ? { starting_after } : {}) };
      const page = await taken(api.GET("/v1/avatars", { params: { query } }));
      found.push(...page.data);
      starting_after = page.next_cursor ?? undefined;
    } while (starting_after);
    return found;
  },
  refetchInterval: (query) => (query.state.data?.some((each) => each.status === "processing") ? 2_000 : false),
});

const of = (session_id: string) => ({ params: { path: { session_id } } });

export const session = (id: string) =>
  queryOptions({ queryKey: ["session", id], queryFn: () => taken(api.GET("/v1/sessions/{session_id}", of(id))) });

export const timeline = (id: string) =>
  queryOptions({
    queryKey: ["session", id, "timeline"],
    queryFn: () => taken(api.GET("/v1/sessions/{session_id}/timeline", of(id))),
  });

export type Happened = Schemas["HistoryEvent"] | Schemas["HistoryHeartbeat"];

export const history = (id: string) =>
  queryOptions({
    queryKey: ["session", id, "history"],
    queryFn: ({ queryKey }) =>
      grown(client.getQueryData<Grown<Happened>>(queryKey), async (after) => {
        const query = { limit: PAGE, heartbeats: true, ...(after ? { after } : {}) };
        const path = { session_id: id };
        return (await taken(
          api.GET("/v1/sessions/{session_id}/events", { params: { path, query } }),
        )) as Page<Happened>;
      }),
    select: itemsOf,
  });

function itemsOf(known: Grown<Happened>): Happened[] {
  return known.items;
}

export type Entry = Schemas["UsageEventResource"];

/** Of a session, in the order of its chain. */
export const entries = (id: string) =>
  queryOptions({
    queryKey: ["session", id, "entries"],
    queryFn: ({ queryKey }) =>
      caughtUp(client.getQueryData<Entry[]>(queryKey) ?? [], (starting_after) => {
        const query = { limit: PAGE, session_id: id, ...(starting_after ? { starting_after } : {}) };
        return taken(api.GET("/v1/usage_events", { params: { query } }));
      }),
  });

export type Delivery = Schemas["WebhookDeliveryResource"];

export const deliveriesOf = (id: string) =>
  queryOptions({
    queryKey: ["session", id, "deliveries"],
    queryFn: async () =>
      (await taken(api.GET("/v1/webhook_deliveries", { params: { query: { session_id: id, limit: 100 } } }))).data,
  });

export const endpoints = queryOptions({
  queryKey: ["endpoints"],
  queryFn: async () => (await taken(api.GET("/v1/webhook_endpoints"))).data,
});
