/** Windows of one browser share its cookie: when one logs in as somebody else, the others speak for him, too. */

import { client, ME } from "./queries";

const channel = new BroadcastChannel("greenroom.log-in");
channel.onmessage = () => void client.invalidateQueries({ queryKey: ME });

/** After a log-in or log-out. */
export function tellOthers(): void {
  channel.postMessage(null);
}
