/** News of the account, as the API tells them: one stream for the whole page.
 *
 * Browsers keep six connections to a server for all tabs together, so a tab that nobody sees has none: when it is seen
 * again, it goes on where it was.
 */

import type { Schemas } from "./api";
import { connection } from "./connection";

export type News = Schemas["FeedItem"];

const AGAIN_MS = 3000;
const MOST_MS = 30_000;
const TYPES = [
  "session.created",
  "session.starting",
  "session.first_frame",
  "session.expiring",
  "session.audio_stalled",
  "session.audio_resumed",
  "session.synthetic_audio_started",
  "session.ending",
  "session.ended",
  "session.failed",
  "session.canceled",
  "session.erased",
  "avatar.ready",
  "avatar.failed",
  "usage.threshold_reached",
  "webhook_endpoint.disabled",
] as const;

/** How long after so many refusals it is tried again. */
export function pause(refused: number): number {
  return Math.min(MOST_MS, AGAIN_MS * 2 ** (refused - 1));
}

/** `onNews` for each; `onGap` when something may have been missed, the first time included; `onRefused` when there is no
 * stream, by a log-out perhaps. Returns what ends it. */
export function follow(onNews: (news: News) => void, onGap: () => void, onRefused: () => void): () => void {
  let source: EventSource | undefined;
  let timer: ReturnType<typeof setTimeout> | undefined;
  let place = "latest";
  let over = false;
  let refused = 0;

  function open(): void {
    if (over || source || document.hidden) return;
    const resumed = place !== "latest";
    source = new EventSource(`/v1/events?after=${place}`);
    source.onopen = () => {
      refused = 0;
      if (!resumed) onGap();
    };
    for (const type of TYPES) {
      source.addEventListener(type, (message: MessageEvent<string>) => {
        place = message.lastEventId || place;
        onNews(JSON.parse(message.data) as News);
      });
    }
    source.onerror = () => {
      void connection.doubt();
      if (source?.readyState !== EventSource.CLOSED) return; // it comes back by itself, and says where it was
      // Refused: logged out, too many streams, or a place that is no longer kept.
      close();
      place = "latest";
      clearTimeout(timer);
      refused += 1;
      timer = setTimeout(open, pause(refused));
      onRefused(); // what is missed meanwhile is asked for when it is open again
    };
  }

  function close(): void {
    source?.close();
    source = undefined;
  }

  function seen(): void {
    if (document.hidden) close();
    else open();
  }

  document.addEventListener("visibilitychange", seen);
  open();
  return () => {
    over = true;
    clearTimeout(timer);
    document.removeEventListener("visibilitychange", seen);
    close();
  };
}
