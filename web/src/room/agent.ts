/** The agent's side of an avatar, as livekit-agents plays it: docs/reference/worker.md, "LiveKit". A segment of speech is a byte
 * stream to the avatar; it answers by two calls, when it begins to play it and when it has. */

import type { Room } from "livekit-client";
import workletUrl from "./microphone.worklet.js?url";
import { type Pcm, pcm16, RATE } from "./sound";

const TOPIC = "lk.audio_stream";
const CHUNK = 15_000;

export type Report = { kind: "started" } | { kind: "finished"; position: number; interrupted: boolean };

export class Agent {
  constructor(
    private readonly room: Room,
    private readonly avatar: string,
    onReport: (report: Report) => void,
  ) {
    room.registerRpcMethod("lk.playback_started", async () => {
      onReport({ kind: "started" });
      return "ok";
    });
    room.registerRpcMethod("lk.playback_finished", async ({ payload }) => {
      const told = JSON.parse(payload || "{}") as { playback_position?: number; interrupted?: boolean };
      onReport({ kind: "finished", position: told.playback_position ?? 0, interrupted: told.interrupted ?? false });
      return "ok";
    });
  }

  /** All of it at once: the avatar keeps its own pace. */
  async say({ data }: Pcm): Promise<void> {
    const writer = await this.segment();
    for (let at = 0; at < data.length; at += CHUNK) await writer.write(data.subarray(at, at + CHUNK));
    await writer.close();
  }

  /** What the microphone hears, until the function that comes back is called. `onLevel`: 0 to 1, ten times a second. */
  async listen(onLevel: (level: number) => void): Promise<() => Promise<void>> {
    const audio = { channelCount: 1, echoCancellation: true, noiseSuppression: true };
    const microphone = await navigator.mediaDevices.getUserMedia({ audio }).catch((refused: Error) => {
      const advice = "Allow it for this page in the browser, or give a file or a text.";
      throw new Error(`There is no microphone: ${refused.message}. ${advice}`);
    });
    const context = new AudioContext({ sampleRate: RATE });
    const deaf = async () => {
      for (const track of microphone.getTracks()) track.stop();
      onLevel(0);
      if (context.state !== "closed") await context.close();
    };
    try {
      await context.audioWorklet.addModule(workletUrl);
      const writer = await this.segment();
      const node = new AudioWorkletNode(context, "microphone");
      let written = Promise.resolve();
      node.port.onmessage = ({ data }: MessageEvent<Float32Array>) => {
        onLevel(Math.min(1, data.reduce((most, sample) => Math.max(most, Math.abs(sample)), 0) * 1.6));
        written = written.then(() => writer.write(pcm16(data)));
        written.catch(() => void deaf()); // the room is gone; whoever stops it is told why
      };
      context.createMediaStreamSource(microphone).connect(node);
      return async () => {
        node.port.onmessage = null;
        await deaf();
        await written;
        await writer.close();
      };
    } catch (failed) {
      await deaf();
      throw failed;
    }
  }

  /** What it has not said yet is thrown away. */
  async interrupt(): Promise<void> {
    await this.room.localParticipant.performRpc({
      destinationIdentity: this.avatar,
      method: "lk.clear_buffer",
      payload: "",
      responseTimeout: 5000,
    });
  }

  private segment() {
    return this.room.localParticipant.streamBytes({
      name: "speech",
      topic: TOPIC,
      attributes: { sample_rate: String(RATE), num_channels: "1" },
      destinationIdentities: [this.avatar],
    });
  }
}
