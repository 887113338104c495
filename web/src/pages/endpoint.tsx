import { useInfiniteQuery, useMutation, useQuery } from "@tanstack/react-query";
import { type ReactNode, useState } from "react";
import { Link, useLocation } from "wouter";
import { api, type Me, may, type Schemas, taken } from "../data/api";
import { client, type Delivery } from "../data/queries";
import { seconds, sentence, short } from "../data/words";
import {
  Badge,
  Card,
  Columns,
  Copy,
  Dialog,
  Empty,
  Head,
  Loading,
  Problem,
  Segmented,
  Sure,
  Time,
} from "../parts/basic";
import { Icon } from "../parts/icon";
import { JsonView } from "../parts/json";
import { Secret } from "./webhooks";

type Endpoint = Schemas["WebhookEndpointResource"];
type Status = "" | Delivery["status"];

const STATUSES = [
  ["", "All"],
  ["pending", "Pending"],
  ["delivered", "Delivered"],
  ["given_up", "Given up"],
] as const;

export default function EndpointPage({ id, me }: { id: string; me: Me }) {
  const path = { endpoint_id: id };
  const asked = useQuery({
    queryKey: ["endpoints", id],
    queryFn: () => taken(api.GET("/v1/webhook_endpoints/{endpoint_id}", { params: { path } })),
  });
  const endpoint = asked.data;
  if (!endpoint) return <Loading of={asked} />;
  return (
    <>
      <Head
        title={endpoint.url}
        from={["/webhooks", "Webhooks"]}
        actions={may(me, "webhooks:write") && <Actions endpoint={endpoint} />}
      />
      {!endpoint.enabled && (
        <div className="notice amber">
          <Icon name="warn" />
          <div>
            Nothing is sent to it. {endpoint.disabled_reason === "gone" && "It answered 410, so it was disabled."}
            {endpoint.disabled_reason === "failing" && "Nothing arrived for 120 hours, so it was disabled."} Enable it,
            then replay what it missed.
          </div>
        </div>
      )}
      {endpoint.enabled && endpoint.failing_since && (
        <div className="notice amber">
          <Icon name="warn" />
          <div>
            Deliveries have failed since <Time at={endpoint.failing_since} />. They are tried again by themselves.
          </div>
        </div>
      )}
      <Deliveries id={id} me={me} />
      <Card title="Details">
        <dl className="pairs">
          <dt>Id</dt>
          <dd>
            <Copy text={endpoint.id} />
          </dd>
          <dt>Events</dt>
          <dd className="row">
            {endpoint.events.map((each) => (
              <span key={each} className="tag mono">
                {each}
              </span>
            ))}
          </dd>
          <dt>Description</dt>
          <dd>{endpoint.description || <span className="muted">none</span>}</dd>
          <dt>Added</dt>
          <dd>
            <Time at={endpoint.created_at} />
          </dd>
        </dl>
      </Card>
    </>
  );
}

function Actions({ endpoint }: { endpoint: Endpoint }) {
  const [, go] = useLocation();
  const [asking, setAsking] = useState<"remove" | "rotate" | null>(null);
  const [secret, setSecret] = useState<string | null>(null);
  const params = { path: { endpoint_id: endpoint.id } };
  const renewed = () => client.invalidateQueries({ queryKey: ["endpoints"] });
  const sent = useMutation({
    mutationFn: () => taken(api.POST("/v1/webhook_endpoints/{endpoint_id}/test", { params })),
    onSuccess: () => client.invalidateQueries({ queryKey: ["deliveries", endpoint.id] }),
  });
  const change = useMutation({
    mutationFn: () =>
      taken(
        api.PATCH("/v1/webhook_endpoints/{endpoint_id}", { params, body: { enabled: !endpoint.enabled } as never }),
      ),
    onSuccess: renewed,
  });
  const rotate = useMutation({
    mutationFn: () => taken(api.POST("/v1/webhook_endpoints/{endpoint_id}/rotate_secret", { params })),
    onSuccess: (made) => {
      setAsking(null);
      setSecret(made.secret);
    },
  });
  const remove = useMutation({
    mutationFn: () => taken(api.DELETE("/v1/webhook_endpoints/{endpoint_id}", { params })),
    onSuccess: async () => {
      await renewed();
      go("/webhooks");
    },
  });
  const failed = sent.error ?? change.error ?? rotate.error ?? remove.error;
  return (
    <>
      <button
        type="button"
        className="button primary"
        onClick={() => sent.mutate()}
        disabled={sent.isPending || !endpoint.enabled}
      >
        Send a test
      </button>
      <button type="button" className="button" onClick={() => change.mutate()} disabled={change.isPending}>
        {endpoint.enabled ? "Disable" : "Enable"}
      </button>
      <button type="button" className="button" onClick={() => setAsking("rotate")}>
        Rotate secret
      </button>
      <button type="button" className="button danger icon" onClick={() => setAsking("remove")} aria-label="Remove">
        <Icon name="trash" size={16} />
      </button>
      {failed && !asking && <Problem failed={failed} />}
      {secret && <Secret secret={secret} onClose={() => setSecret(null)} />}
      {asking === "remove" && (
        <Sure
          title="Remove this endpoint?"
          verb="Remove it"
          busy={remove.isPending}
          onYes={() => remove.mutate()}
          onNo={() => setAsking(null)}
        >
          Nothing more is sent to {endpoint.url}, and its deliveries are forgotten.
        </Sure>
      )}
      {asking === "rotate" && (
        <Sure
          title="Rotate the secret?"
          verb="Rotate it"
          busy={rotate.isPending}
          onYes={() => rotate.mutate()}
          onNo={() => setAsking(null)}
        >
          The secret before signs for 24 hours more, beside the new one.
        </Sure>
      )}
    </>
  );
}

function Deliveries({ id, me }: { id: string; me: Me }) {
  const [status, setStatus] = useState<Status>("");
  const [open, setOpen] = useState<string | null>(null);
  const asked = useInfiniteQuery({
    queryKey: ["deliveries", id, status],
    queryFn: ({ pageParam }) => {
      const query = {
        endpoint_id: id,
        limit: 50,
        ...(status ? { status } : {}),
        ...(pageParam ? { starting_after: pageParam } : {}),
      };
      return taken(api.GET("/v1/webhook_deliveries", { params: { query: query as never } }));
    },
    initialPageParam: "",
    getNextPageParam: (page) => (page.has_more ? (page.next_cursor ?? undefined) : undefined),
    refetchInterval: (query) => ((query.state.data?.pages.length ?? 0) > 1 ? false : 3000),
  });
  const found = asked.data?.pages.flatMap((page) => page.data) ?? [];
  return (
    <Card
      title="Deliveries"
      flush
      actions={<Segmented label="Status" value={status} options={STATUSES} onChange={setStatus} />}
    >
      {!asked.data ? (
        <Loading of={asked} />
      ) : found.length === 0 && status ? (
        <Empty icon="search" title={`None is ${sentence(status).toLowerCase()}`} />
      ) : found.length === 0 ? (
        <Empty icon="webhooks" title="Nothing was sent yet">
          <p>Send a test, and look at what your server answers.</p>
        </Empty>
      ) : (
        <div className="scroll">
          <table className="table">
            <Columns of={["Event", "Session", "Status", "Attempts", "When"]} />
            <tbody>
              {found.map((each) => (
                <tr key={each.id}>
                  <td>
                    <button type="button" className="copy" onClick={() => setOpen(each.id)}>
                      <span className="link">{each.type}</span>
                    </button>
                  </td>
                  <td className="mono">
                    {each.session_id ? (
                      <Link href={`/sessions/${each.session_id}`}>{short(each.session_id)}</Link>
                    ) : (
                      "–"
                    )}
                  </td>
                  <td>
                    <Badge status={each.status} />
                  </td>
                  <td className="num">{each.attempts}</td>
                  <td>
                    <Time at={each.created_at} />
                  </td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
      {asked.hasNextPage && (
        <div className="footnote">
          <button
            type="button"
            className="button tiny"
            onClick={() => void asked.fetchNextPage()}
            disabled={asked.isFetching}
          >
            More
          </button>
        </div>
      )}
      {open && <One id={open} me={me} onClose={() => setOpen(null)} />}
    </Card>
  );
}

function One({ id, me, onClose }: { id: string; me: Me; onClose: () => void }) {
  const params = { path: { delivery_id: id } };
  const asked = useQuery({
    queryKey: ["delivery", id],
    queryFn: () => taken(api.GET("/v1/webhook_deliveries/{delivery_id}", { params })),
    refetchInterval: ({ state }) => (state.data?.status === "pending" ? 1000 : false),
  });
  const again = useMutation({
    mutationFn: () => taken(api.POST("/v1/webhook_deliveries/{delivery_id}/redeliver", { params })),
    onSuccess: async () => {
      await client.invalidateQueries({ queryKey: ["delivery", id] });
      await client.invalidateQueries({ queryKey: ["deliveries"] });
    },
  });
  const delivery = asked.data;
  return (
    <Dialog title={delivery?.type ?? "Delivery"} onClose={onClose}>
      {!delivery ? (
        <Loading of={asked} />
      ) : (
        <>
          <div className="row between">
            <Badge status={delivery.status} />
            <Copy text={delivery.id} shown={short(delivery.id)} />
          </div>
          <ul className="stack">
            {delivery.tried.map((attempt) => (
              <li key={attempt.n} className="notice">
                <div>
                  <div className="row between">
                    <strong>
                      {attempt.status ? `Answered ${attempt.status}` : sentence(attempt.error ?? "no answer")}
                    </strong>
                    <span className="small muted num">
                      attempt {attempt.n} · {seconds(attempt.latency_ms)}
                    </span>
                  </div>
                  <div className="small muted">
                    <Time at={attempt.at} />
                  </div>
                  {attempt.answer && <Answer>{attempt.answer}</Answer>}
                </div>
              </li>
            ))}
          </ul>
          {delivery.next_attempt_at && delivery.status === "pending" && (
            <p className="small muted">
              Tried again at <Time at={delivery.next_attempt_at} />.
            </p>
          )}
          <details>
            <summary>What is sent</summary>
            <JsonView data={delivery.body} label="Body" />
          </details>
          {again.error && <Problem failed={again.error} />}
          <footer>
            {may(me, "webhooks:write") && (
              <button
                type="button"
                className="button primary"
                onClick={() => again.mutate()}
                disabled={again.isPending}
              >
                <Icon name="refresh" size={16} /> Redeliver
              </button>
            )}
          </footer>
        </>
      )}
    </Dialog>
  );
}

function Answer({ children }: { children: ReactNode }) {
  return (
    <pre className="json small" aria-label="Its answer">
      {children}
    </pre>
  );
}
