/** Whether the API answers. While it does not, it is asked every second; when it does again, everybody is told. */

/** Whether nobody of ours has answered, but a proxy, for an API that is away: our errors have an envelope. */
export async function isAway(answer: Response): Promise<boolean> {
  if (![502, 503, 504].includes(answer.status)) return false;
  const told = await answer
    .clone()
    .json()
    .catch(() => null);
  return typeof told?.error?.code !== "string";
}

type State = "up" | "down";

const PATH = "/v1/status";
const EVERY_MS = 1000;

class Connection {
  state: State = "up";
  private readonly listeners = new Set<() => void>();
  private timer: ReturnType<typeof setTimeout> | undefined;

  subscribe = (listener: () => void): (() => void) => {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  };

  up(): void {
    clearTimeout(this.timer);
    this.timer = undefined;
    this.become("up");
  }

  down(): void {
    this.become("down");
    this.timer ??= setTimeout(() => void this.ask(), EVERY_MS);
  }

  /** Asked at once: something that was open has been cut off. */
  async doubt(): Promise<void> {
    if (this.timer === undefined) await this.ask();
  }

  private async ask(): Promise<void> {
    this.timer = undefined;
    try {
      const answer = await fetch(PATH, { signal: AbortSignal.timeout(5000) });
      if (await isAway(answer)) this.down();
      else this.up();
    } catch {
      this.down();
    }
  }

  private become(state: State): void {
    if (state === this.state) return;
    this.state = state;
    for (const listener of this.listeners) listener();
  }
}

export const connection = new Connection();
