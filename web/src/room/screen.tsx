/** What an avatar shows and says in a room, on a screen. */

import { type RemoteTrack, Room, RoomEvent, Track } from "livekit-client";
import { type ReactNode, useEffect, useRef, useState } from "react";
import { Icon } from "../parts/icon";

export type Access = { url: string; token: string };

type State = "connecting" | "waiting" | "shown" | "gone" | "failed";

const WORDS: Record<State, string> = {
  connecting: "Entering the room…",
  waiting: "In the room. Waiting for the avatar…",
  shown: "Live",
  gone: "The avatar has left the room.",
  failed: "The room cannot be entered.",
};

/** `from`: the identity that is watched; null: whoever shows something. `onRoom`: once it is entered. */
export function Screen({
  access,
  from,
  onRoom,
  children,
}: {
  access: Access;
  from: string | null;
  onRoom?: (room: Room) => void;
  children?: ReactNode;
}) {
  const video = useRef<HTMLVideoElement>(null);
  const sound = useRef<HTMLAudioElement>(null);
  const [state, setState] = useState<State>("connecting");
  const [why, setWhy] = useState("");
  const [room, setRoom] = useState<Room | null>(null);
  const [silent, setSilent] = useState(false);
  const told = useRef(onRoom);
  told.current = onRoom;

  const { url, token } = access;
  useEffect(() => {
    let over = false;
    const made = new Room({ disconnectOnPageLeave: true });
    const place = (track: RemoteTrack) => (track.kind === Track.Kind.Video ? video.current : sound.current);
    const set = (next: State, because = "") => {
      if (over) return;
      setState(next);
      setWhy(because);
    };
    made
      .on(RoomEvent.TrackSubscribed, (track, _, who) => {
        const element = place(track);
        if (!element || (from !== null && who.identity !== from)) return;
        track.attach(element);
        if (track.kind === Track.Kind.Video) set("shown");
      })
      .on(RoomEvent.TrackUnsubscribed, (track) => {
        track.detach();
        if (track.kind === Track.Kind.Video) set("gone");
      })
      .on(RoomEvent.AudioPlaybackStatusChanged, () => setSilent(!made.canPlaybackAudio))
      .on(RoomEvent.Disconnected, () => set("gone"));
    made.connect(url, token).then(
      () => {
        if (over) return;
        setState((now) => (now === "connecting" ? "waiting" : now));
        setRoom(made);
        told.current?.(made);
      },
      (failed: Error) => set("failed", failed.message),
    );
    return () => {
      over = true;
      void made.disconnect();
    };
  }, [url, token, from]);

  return (
    <div className="screen" data-state={state}>
      {state !== "shown" && (
        <div className="empty">
          <Icon name={state === "failed" ? "warn" : "video"} size={28} />
          <p role="status">{WORDS[state]}</p>
          {why && (
            <p className="small">{why} Check its address and token: a token is good for one room and for some time.</p>
          )}
        </div>
      )}
      <video ref={video} autoPlay playsInline muted hidden={state !== "shown"} aria-label="The avatar" />
      {/* biome-ignore lint/a11y/useMediaCaption: it is live, and what it says is not known as text */}
      <audio ref={sound} autoPlay />
      {state === "shown" && (
        <div className="over">
          <span className="pill">● Live</span>
          {silent && (
            <button type="button" className="button tiny" onClick={() => void room?.startAudio()}>
              Sound on
            </button>
          )}
          {children}
        </div>
      )}
    </div>
  );
}
