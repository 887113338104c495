import { useMutation, useQuery } from "@tanstack/react-query";
import { type FormEvent, useState } from "react";
import { Link } from "wouter";
import { api, type Me, may, type Schemas, taken } from "../data/api";
import { client, endpoints } from "../data/queries";
import { Badge, Card, Columns, Copy, Dialog, Empty, Head, Loading, Problem, Time } from "../parts/basic";
import { Icon } from "../parts/icon";

type Endpoint = Schemas["WebhookEndpointResource"];

export default function Webhooks({ me }: { me: Me }) {
  const asked = useQuery(endpoints);
  const [adding, setAdding] = useState(false);
  const [made, setMade] = useState<Endpoint | null>(null);
  return (
    <>
      <Head
        title="Webhooks"
        actions={
          may(me, "webhooks:write") && (
            <button type="button" className="button primary" onClick={() => setAdding(true)}>
              <Icon name="plus" size={16} /> Add an endpoint
            </button>
          )
        }
      >
        <p>Where you are told of what happens, signed, again and again until it is received.</p>
      </Head>
      {adding && (
        <Add
          onDone={(endpoint) => {
            setAdding(false);
            setMade(endpoint);
          }}
        />
      )}
      {made?.secret && <Secret secret={made.secret} onClose={() => setMade(null)} />}
      {!asked.data ? (
        <Loading of={asked} />
      ) : asked.data.length === 0 ? (
        <div className="card">
          <Empty icon="webhooks" title="No endpoint yet">
            <p>
              Add the address of your server. It gets each event of your sessions within a second, and you see each
              answer here.
            </p>
          </Empty>
        </div>
      ) : (
        <Card title="Endpoints" flush>
          <div className="scroll">
            <table className="table">
              <Columns of={["URL", "Events", "Status", "Added"]} />
              <tbody>
                {asked.data.map((endpoint) => (
                  <tr key={endpoint.id}>
                    <td>
                      <Link className="link" href={`/webhooks/${endpoint.id}`}>
                        {endpoint.url}
                      </Link>
                      <div className="small muted">{endpoint.description}</div>
                    </td>
                    <td>
                      <span className="row">
                        {endpoint.events.map((each) => (
                          <span key={each} className="tag mono">
                            {each}
                          </span>
                        ))}
                      </span>
                    </td>
                    <td>
                      <Badge
                        status={endpoint.enabled ? (endpoint.failing_since ? "failing" : "enabled") : "disabled"}
                      />
                    </td>
                    <td>
                      <Time at={endpoint.created_at} />
                    </td>
                  </tr>
                ))}
              </tbody>
            </table>
          </div>
        </Card>
      )}
    </>
  );
}

export function Secret({ secret, onClose }: { secret: string; onClose: () => void }) {
  return (
    <Dialog title="Its signing secret" onClose={onClose}>
      <p className="muted">It is shown once. With it your server tells our webhooks from those of others.</p>
      <div className="notice">
        <Copy text={secret} what="secret" />
      </div>
      <footer>
        <button type="button" className="button primary" onClick={onClose}>
          I have kept it
        </button>
      </footer>
    </Dialog>
  );
}

function Add({ onDone }: { onDone: (made: Endpoint | null) => void }) {
  const add = useMutation({
    mutationFn: (form: FormData) => {
      const events = String(form.get("events"))
        .split(/[\s,]+/)
        .filter(Boolean);
      const body = { url: String(form.get("url")).trim(), events, description: String(form.get("description")) };
      return taken(api.POST("/v1/webhook_endpoints", { body: body as never }));
    },
    onSuccess: async (endpoint) => {
      await client.invalidateQueries({ queryKey: ["endpoints"] });
      onDone(endpoint);
    },
  });
  const submit = (event: FormEvent<HTMLFormElement>) => {
    event.preventDefault();
    add.mutate(new FormData(event.currentTarget));
  };
  return (
    <Dialog title="Add an endpoint" onClose={() => onDone(null)}>
      <form className="stack" onSubmit={submit}>
        <div className="field">
          <label htmlFor="url">URL</label>
          <input id="url" name="url" className="input mono" placeholder="https://example.com/hook" required />
        </div>
        <div className="field">
          <label htmlFor="events">Events</label>
          <input id="events" name="events" className="input mono" defaultValue="session.*" required />
          <span className="hint">
            Types such as <code>session.ended</code>, groups such as <code>session.*</code>, or <code>*</code>, with
            spaces between.
          </span>
        </div>
        <div className="field">
          <label htmlFor="description">Description</label>
          <input id="description" name="description" className="input" maxLength={500} />
        </div>
        {add.error && <Problem failed={add.error} />}
        <footer>
          <button type="button" className="button" onClick={() => onDone(null)}>
            Cancel
          </button>
          <button type="submit" className="button primary" disabled={add.isPending}>
            Add it
          </button>
        </footer>
      </form>
    </Dialog>
  );
}
