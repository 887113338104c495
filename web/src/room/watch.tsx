import { useQuery } from "@tanstack/react-query";
import { type FormEvent, useState } from "react";
import { Failure, type Me, ours, type Session } from "../data/api";
import { Card, Loading, OverTls } from "../parts/basic";
import { type Access, Screen } from "./screen";

/** A session that goes on, as somebody in its room sees it. */
export default function Watch({ session, me }: { session: Session; me: Me }) {
  const [pasted, setPasted] = useState<Access | null>(null);
  const asked = useQuery({
    queryKey: ["view", session.id],
    queryFn: () => ours<Access>("POST", "view", { session_id: session.id }),
    enabled: me.livekit_url !== null,
    // Until a worker has entered the room: then it is known that the room is this account's to look into.
    retry: (_, failed) => failed instanceof Failure && failed.code === "console.not_joined",
    retryDelay: 1000,
    staleTime: Number.POSITIVE_INFINITY,
    gcTime: 0,
  });
  const access = pasted ?? asked.data;
  const foreign =
    me.livekit_url === null || (asked.error instanceof Failure && asked.error.code === "console.foreign_room");
  return (
    <Card title="Watch" flush>
      {access ? (
        <Screen access={access} from={session.transport.worker_identity} />
      ) : foreign ? (
        <Paste url={session.transport.url} room={session.transport.room_name} onPasted={setPasted} />
      ) : (
        <Loading of={asked} />
      )}
    </Card>
  );
}

function Paste({ url, room, onPasted }: { url: string; room: string; onPasted: (access: Access) => void }) {
  const submit = (event: FormEvent<HTMLFormElement>) => {
    event.preventDefault();
    const form = new FormData(event.currentTarget);
    onPasted({ url: String(form.get("url")), token: String(form.get("token")).trim() });
  };
  return (
    <form className="body stack" onSubmit={submit}>
      <p className="muted">
        The room {room} is on a LiveKit of yours, whose keys are yours alone. Mint a token for it that may subscribe,
        and paste it: it goes from this page to your LiveKit, and nowhere else.
      </p>
      <div className="field">
        <label htmlFor="watch-url">LiveKit</label>
        <input id="watch-url" name="url" className="input mono" defaultValue={url} required />
        <OverTls />
      </div>
      <div className="field">
        <label htmlFor="watch-token">Viewer token</label>
        <textarea id="watch-token" name="token" className="input mono" rows={3} placeholder="eyJ…" required />
      </div>
      <div>
        <button type="submit" className="button primary">
          Enter the room
        </button>
      </div>
    </form>
  );
}
