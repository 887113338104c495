import { useMutation, useQuery } from "@tanstack/react-query";
import { type FormEvent, lazy, Suspense, useState } from "react";
import { Link } from "wouter";
import { type Avatar, api, type Me, ours, type Schemas, type Session, taken } from "../data/api";
import { avatars, capacity, session } from "../data/queries";
import { isLive } from "../data/sessions";
import { Badge, Card, Empty, Head, OverTls, Problem } from "../parts/basic";
import { Face } from "../parts/face";
import { Icon } from "../parts/icon";
import { Speak, useSpeech, words } from "../room/speak";

const Screen = lazy(async () => ({ default: (await import("../room/screen")).Screen }));

/** A room with its tokens: of the local stack, or pasted. */
type Place = { url: string; worker_url: string; room_name: string; worker_token: string; agent_token: string };
type Quality = Schemas["SessionResource"]["quality"];
type Talking = { place: Place; session: Session };

const IDLE_S = 60;
const MOST_S = 600;

export default function Talk({ me }: { me: Me }) {
  const [talking, setTalking] = useState<Talking | null>(null);
  return (
    <>
      <Head title="Talk to an avatar">
        <p>A session in a room of its own, with you as its voice agent. It is billed like any other.</p>
      </Head>
      {talking ? (
        <Conversation key={talking.session.id} talking={talking} me={me} onOver={() => setTalking(null)} />
      ) : (
        <Begin me={me} onBegun={setTalking} />
      )}
    </>
  );
}

function Begin({ me, onBegun }: { me: Me; onBegun: (talking: Talking) => void }) {
  const faces = useQuery(avatars);
  const slots = useQuery(capacity);
  const ready = faces.data?.filter((each) => each.status === "ready") ?? [];
  const offered = (["standard", "lite", "pro", "mock"] as const).filter((each) => slots.data?.by_quality[each]?.slots);
  const begin = useMutation({
    mutationFn: async (form: FormData) => {
      const place = me.livekit_url === null ? pasted(form) : await ours<Place>("POST", "rooms");
      const body = {
        avatar_id: String(form.get("avatar")),
        quality: String(form.get("quality")) as Quality,
        idle_timeout_seconds: IDLE_S,
        max_duration_seconds: MOST_S,
        metadata: { made_by: "console" },
        transport: {
          type: "livekit" as const,
          url: place.worker_url,
          room_name: place.room_name,
          worker_token: place.worker_token,
        },
      };
      return { place, session: await taken(api.POST("/v1/sessions", { body: body as never })) };
    },
    onSuccess: onBegun,
  });
  const submit = (event: FormEvent<HTMLFormElement>) => {
    event.preventDefault();
    begin.mutate(new FormData(event.currentTarget));
  };
  return (
    <form onSubmit={submit} className="split">
      <Card title="New session">
        <div className="stack">
          <Faces avatars={ready} />
          <div className="field">
            <label htmlFor="quality">Quality</label>
            <select id="quality" name="quality" className="input">
              {(offered.length ? offered : ["standard"]).map((each) => (
                <option key={each} value={each}>
                  {each}
                </option>
              ))}
            </select>
            {slots.data && (
              <span className="hint num">
                {slots.data.free} of {slots.data.slots} slots are free.
                {slots.data.slots === 0 && " Start a worker: greenroom worker."}
              </span>
            )}
          </div>
          {me.livekit_url === null && <Foreign />}
          {begin.error && <Problem failed={begin.error} />}
          <div>
            <button type="submit" className="button primary" disabled={begin.isPending || ready.length === 0}>
              <Icon name="play" size={16} /> {begin.isPending ? "Starting…" : "Start"}
            </button>
          </div>
        </div>
      </Card>
      <Card title="What happens">
        <ol className="stack muted">
          <li>1. A room is made, and you enter it as the voice agent that the avatar listens to.</li>
          <li>2. A worker joins with the face: mostly within a second.</li>
          <li>3. Speak by microphone, file or text. Lips follow what is heard.</li>
          <li>4. End it, and look at its timeline and its bill.</li>
        </ol>
      </Card>
    </form>
  );
}

/** One of them, by its face. */
function Faces({ avatars }: { avatars: Avatar[] }) {
  return (
    <fieldset className="plain">
      <legend className="label">Avatar</legend>
      <div className="faces">
        {avatars.map((each, n) => (
          <label key={each.id} className="choice">
            <input type="radio" name="avatar" value={each.id} defaultChecked={n === 0} className="hidden-visually" />
            <Face avatar={each} />
            <span>{each.name}</span>
          </label>
        ))}
      </div>
    </fieldset>
  );
}

function pasted(form: FormData): Place {
  const field = (name: string) => String(form.get(name) ?? "").trim();
  return {
    url: field("url"),
    worker_url: field("url"),
    room_name: field("room"),
    worker_token: field("worker_token"),
    agent_token: field("agent_token"),
  };
}

function Foreign() {
  return (
    <>
      <div className="notice">
        <Icon name="warn" />
        <div>
          This console mints no tokens: <code>GREENROOM_CONSOLE_LIVEKIT_URL</code>, <code>_KEY</code> and{" "}
          <code>_SECRET</code> are not set. Give a room of your own LiveKit, with two tokens for it.
        </div>
      </div>
      <div className="field">
        <label htmlFor="url">LiveKit</label>
        <input id="url" name="url" className="input mono" placeholder="wss://my-app.livekit.cloud" required />
        <OverTls />
      </div>
      <div className="field">
        <label htmlFor="room">Room</label>
        <input id="room" name="room" className="input" required />
      </div>
      <div className="field">
        <label htmlFor="worker_token">Worker token</label>
        <input
          id="worker_token"
          name="worker_token"
          className="input mono"
          placeholder="of the identity avatar"
          required
        />
      </div>
      <div className="field">
        <label htmlFor="agent_token">Agent token</label>
        <input
          id="agent_token"
          name="agent_token"
          className="input mono"
          placeholder="yours, in the same room"
          required
        />
      </div>
    </>
  );
}

function Conversation({ talking, me, onOver }: { talking: Talking; me: Me; onOver: () => void }) {
  const { place, session: made } = talking;
  const shown = useQuery({
    ...session(made.id),
    initialData: made,
    refetchInterval: ({ state }) => (state.data && isLive(state.data) ? 1000 : false),
  }).data;
  const speech = useSpeech(shown.transport.worker_identity);
  const live = isLive(shown);
  const end = useMutation({ mutationFn: () => ended(made.id) });
  const access = { url: place.url, token: place.agent_token };
  return (
    <div className="split">
      <Card
        title="Avatar"
        flush
        actions={
          <>
            <Badge status={shown.status} />
            <Link href={`/sessions/${made.id}`} className="button tiny">
              Timeline and bill
            </Link>
            {live ? (
              <button
                type="button"
                className="button danger tiny"
                onClick={() => end.mutate()}
                disabled={end.isPending}
              >
                End
              </button>
            ) : (
              <button type="button" className="button tiny" onClick={onOver}>
                New session
              </button>
            )}
          </>
        }
      >
        <Suspense fallback={<div className="screen" />}>
          <Screen access={access} from={shown.transport.worker_identity} onRoom={speech.enter} />
        </Suspense>
      </Card>
      <div className="column">
        {shown.failure && <Problem failed={new Error(shown.failure.message)} />}
        {end.error && <Problem failed={end.error} />}
        <Card title="Speak">
          <Speak speech={speech} live={live} ready={live && shown.status === "running"} typed={me.speech} />
        </Card>
        <Card
          title="Said"
          actions={
            speech.lines.some((line) => line.state === "speaking" || line.state === "sent") && (
              <button type="button" className="button tiny" onClick={() => void speech.interrupt()}>
                <Icon name="stop" size={14} /> Interrupt
              </button>
            )
          }
        >
          {speech.lines.length === 0 ? (
            <Empty icon="talk" title="Nothing yet">
              <p>What you say is listed here, with how much of it was played, as the avatar reports it.</p>
            </Empty>
          ) : (
            <ul className="said" aria-live="polite">
              {speech.lines.map((line) => (
                <li key={line.n}>
                  <span>{line.text}</span>
                  <span className="muted num">{words(line)}</span>
                </li>
              ))}
            </ul>
          )}
        </Card>
      </div>
    </div>
  );
}

function ended(session_id: string) {
  return taken(api.POST("/v1/sessions/{session_id}/end", { params: { path: { session_id } } }));
}
