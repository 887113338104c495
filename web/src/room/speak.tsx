/** What somebody says to an avatar, by hand, file or microphone, and what it reports of it. */

import type { Room } from "livekit-client";
import { type FormEvent, useCallback, useEffect, useRef, useState } from "react";
import sample from "../../../cli/assets/speech.wav?url";
import { bytes } from "../data/api";
import { seconds } from "../data/words";
import { Problem } from "../parts/basic";
import { Icon } from "../parts/icon";
import type { Agent } from "./agent";

type Line = {
  n: number;
  text: string;
  seconds: number | null;
  state: "sent" | "speaking" | "said" | "interrupted";
  position: number;
};

/** How far it is. */
export function words({ state, position, seconds: length }: Line): string {
  if (state === "sent") return "sent";
  if (state === "speaking") return length ? `speaks ${seconds(length * 1000)}` : "speaks";
  return `${state === "said" ? "said" : "cut off at"} ${seconds(position * 1000)}`;
}

export type Speech = ReturnType<typeof useSpeech>;

export function useSpeech(avatar: string) {
  const agent = useRef<Agent | null>(null);
  const count = useRef(0);
  const [lines, setLines] = useState<Line[]>([]);
  const [failed, setFailed] = useState<Error | null>(null);

  const change = (where: (line: Line) => boolean, what: Partial<Line>) =>
    setLines((all) => {
      const n = all.findIndex(where);
      return n < 0 ? all : all.map((line, at) => (at === n ? { ...line, ...what } : line));
    });
  const enter = async (room: Room) => {
    const { Agent } = await import("./agent");
    agent.current = new Agent(room, avatar, (report) => {
      if (report.kind === "started") change((line) => line.state === "sent", { state: "speaking" });
      else {
        const state = report.interrupted ? "interrupted" : "said";
        change((line) => line.state === "sent" || line.state === "speaking", { state, position: report.position });
      }
    });
  };
  const tried = async (work: (agent: Agent) => Promise<void>) => {
    setFailed(null);
    try {
      if (agent.current) await work(agent.current);
    } catch (wrong) {
      setFailed(wrong as Error);
    }
  };
  const line = (text: string, seconds: number | null) => {
    count.current += 1;
    const made: Line = { n: count.current, text, seconds, state: "sent", position: 0 };
    setLines((all) => [...all, made]);
  };
  const say = (text: string, file: () => Promise<ArrayBuffer>) =>
    tried(async (speaker) => {
      const { decoded } = await import("./sound");
      const content = await file();
      const pcm = await decoded(content).catch(() => {
        throw new Error(`${text} is no sound that this browser can read. Take a WAV, MP3 or Ogg file.`);
      });
      line(text, pcm.seconds);
      await speaker.say(pcm);
    });
  const listen = async (onLevel: (level: number) => void) => {
    let stop: (() => Promise<void>) | null = null;
    await tried(async (speaker) => {
      stop = await speaker.listen(onLevel);
      line("You, by microphone", null);
    });
    const begun = stop as (() => Promise<void>) | null;
    return begun && (() => tried(begun));
  };
  return { lines, failed, enter, say, listen, interrupt: () => tried((speaker) => speaker.interrupt()) };
}

type Speaking = { speech: Speech; live: boolean; ready: boolean; typed: boolean };

export function Speak({ speech, live, ready, typed }: Speaking) {
  const [text, setText] = useState("");
  const say = (event: FormEvent) => {
    event.preventDefault();
    const said = text.trim();
    if (!said) return;
    setText("");
    void speech.say(said, () => bytes("/console/speech", { text: said }));
  };
  return (
    <div className="stack">
      {speech.failed && <Problem failed={speech.failed} />}
      {!ready && <p className="muted">As soon as the avatar is there, it says what you give it.</p>}
      <div className="actions">
        <button
          type="button"
          className="button primary"
          disabled={!ready}
          onClick={() => void speech.say("The demo's sentence", async () => (await fetch(sample)).arrayBuffer())}
        >
          <Icon name="play" size={16} /> Say the demo's sentence
        </button>
        <label className={`button ${ready ? "" : "off"}`}>
          <Icon name="file" size={16} /> A file
          <input
            className="hidden-visually"
            type="file"
            accept="audio/*"
            disabled={!ready}
            onChange={(event) => {
              const file = event.target.files?.[0];
              if (file) void speech.say(file.name, () => file.arrayBuffer());
              event.target.value = "";
            }}
          />
        </label>
      </div>
      <Microphone speech={speech} live={live} ready={ready} />
      {typed && (
        <form className="row" onSubmit={say}>
          <input
            className="input"
            aria-label="Text to say"
            placeholder="Type what it should say"
            maxLength={300}
            value={text}
            onChange={(event) => setText(event.target.value)}
          />
          <button type="submit" className="button" disabled={!ready || !text.trim()}>
            Say
          </button>
        </form>
      )}
    </div>
  );
}

/** One press begins, the next one ends: as good by keyboard as by hand. */
function Microphone({ speech, live, ready }: Omit<Speaking, "typed">) {
  const [level, setLevel] = useState(0);
  const [busy, setBusy] = useState(false);
  const stop = useRef<(() => Promise<void>) | null>(null);
  const [heard, setHeard] = useState(false);
  const gone = useRef(false);
  const end = useCallback(async () => {
    const before = stop.current;
    stop.current = null;
    await before?.();
    setHeard(false);
  }, []);
  const press = async () => {
    setBusy(true);
    try {
      if (stop.current) await end();
      else stop.current = await speech.listen(setLevel);
      if (gone.current) await end(); // while the browser asked whether it may
      setHeard(stop.current !== null);
    } finally {
      setBusy(false);
    }
  };
  // With the session, and with the page.
  useEffect(() => {
    if (!live && heard) void end();
  }, [live, heard, end]);
  useEffect(() => {
    gone.current = false;
    return () => {
      gone.current = true;
      void end();
    };
  }, [end]);
  return (
    <div className="stack">
      <div>
        <button
          type="button"
          className={`button ${heard ? "danger" : ""}`}
          disabled={busy || (!ready && !heard)}
          aria-pressed={heard}
          onClick={() => void press()}
        >
          <Icon name="talk" size={16} /> {heard ? "Stop speaking" : "Speak"}
        </button>
      </div>
      {heard && <progress value={level} max={1} aria-label="Loudness" />}
    </div>
  );
}
