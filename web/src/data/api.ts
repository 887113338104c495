/** The API, by the types of its own OpenAPI document. The cookie of the log-in says who asks; no key is ever here. */

import createClient from "openapi-fetch";
import type { components, paths } from "../schema.gen";
import { connection, isAway } from "./connection";
import { heard } from "./time";

export type Schemas = components["schemas"];
export type Session = Schemas["SessionResource"];
export type Status = Session["status"];
export type Avatar = Schemas["AvatarResource"];

/** What no form and no link of another site can send: the API takes the cookie only beside it. */
const OURS = { "X-Greenroom-Console": "1" };

export class Failure extends Error {
  constructor(
    readonly status: number,
    readonly code: string,
    message: string,
    readonly requestId: string | null = null,
  ) {
    super(message);
  }

  /** Nobody is logged in any more, whatever the reason. */
  get loggedOut(): boolean {
    return this.status === 401;
  }

  /** Worth asking again by itself. */
  get passes(): boolean {
    return this.status === 0 || this.status === 429 || this.status === 502 || this.status === 503;
  }
}

const OFFLINE = "The API does not answer. It is tried again until it does.";

async function reached(input: Request): Promise<Response> {
  try {
    const answer = await fetch(input);
    if (!(await isAway(answer))) {
      heard(answer.headers.get("Date"));
      connection.up();
      return answer;
    }
  } catch (failed) {
    if (input.signal.aborted) throw failed;
  }
  connection.down();
  throw new Failure(0, "offline", OFFLINE);
}

export const api = createClient<paths>({ baseUrl: "/", headers: OURS, fetch: reached });

type Answer<T> = { data?: T; error?: unknown; response: Response };

/** Neither a stream nor a dry run is asked for here, though the operation knows it. */
type Body<T> = Exclude<NonNullable<T>, string | { object: "session.dry_run" }>;

/** The body of an answer. Throws Failure, in the words of the API. */
export async function taken<T>(asked: Promise<Answer<T>>): Promise<Body<T>> {
  const { data, error, response } = await asked;
  if (!response.ok) throw failure(response, error);
  return data as Body<T>;
}

function failure(response: Response, body: unknown): Failure {
  const told = (body as Schemas["ErrorEnvelope"] | undefined)?.error;
  const code = told?.code ?? `http.${response.status}`;
  const message =
    told?.message ?? `The API answered ${response.status}, and not why. Try again; if it stays so, its log says more.`;
  return new Failure(response.status, code, message, told?.request_id);
}

async function answered(method: "GET" | "POST", path: string, body?: object): Promise<Response> {
  const request = new Request(path, {
    method,
    headers: { ...OURS, ...(body ? { "Content-Type": "application/json" } : {}) },
    ...(body ? { body: JSON.stringify(body) } : {}),
  });
  const answer = await reached(request);
  if (!answer.ok) throw failure(answer, await answer.json().catch(() => undefined));
  return answer;
}

/** What the console alone asks for: no part of the published API. */
export async function ours<T>(method: "GET" | "POST", path: string, body?: object): Promise<T> {
  const answer = await answered(method, `/console/${path}`, body);
  return (answer.status === 204 ? undefined : await answer.json()) as T;
}

/** What is no JSON, such as sound. Throws Failure, in the words of the API. */
export async function bytes(path: string, body?: object): Promise<ArrayBuffer> {
  return (await answered(body ? "POST" : "GET", path, body)).arrayBuffer();
}

export type Me = {
  account_id: string;
  key_id: string;
  plan: string;
  scopes: string[];
  livekit_url: string | null;
  speech: boolean;
};

/** About all accounts: no other scope contains it. */
export const OPERATOR = "operator";

/** Whether the key has this scope, such as `sessions:read`; write contains read, `*` all of an account. */
export function may(me: Me, scope: string): boolean {
  if (scope === OPERATOR) return me.scopes.includes(OPERATOR);
  const [noun] = scope.split(":");
  return me.scopes.some((each) => each === "*" || each === scope || each === `${noun}:write`);
}
