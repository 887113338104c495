// What a customer writes against the types that openapi-typescript makes of the document. It has to compile, strictly;
// each `@ts-expect-error` is a mistake that the types have to tell.
import type { components, operations, paths, webhooks } from "./api.js";

type Json<T> = T extends { content: { "application/json": infer Body } } ? Body : never;
type Session = components["schemas"]["SessionResource"];
type CreateSession = Json<operations["create_session"]["requestBody"]>;
type Refusal = Json<operations["create_session"]["responses"][503]>;
type Listed = NonNullable<operations["list_sessions"]["parameters"]["query"]>;
type Delivery = {
  [Kind in keyof webhooks]: Json<NonNullable<webhooks[Kind]["post"]["requestBody"]>>;
}[keyof webhooks];

export class Greenroom {
  constructor(
    private readonly base: string,
    private readonly key: string,
  ) {}

  async create(body: CreateSession, idempotencyKey: string): Promise<Session> {
    return this.call("/v1/sessions", "POST", body, { "Idempotency-Key": idempotencyKey });
  }

  async list(query: Listed): Promise<Json<operations["list_sessions"]["responses"][200]>> {
    const asked = new URLSearchParams();
    for (const status of query.status ?? []) asked.append("status", status);
    if (query.limit !== undefined) asked.set("limit", String(query.limit));
    return this.call(`/v1/sessions?${asked}`, "GET");
  }

  private async call<T>(path: string, method: string, body?: unknown, headers: Record<string, string> = {}): Promise<T> {
    const answer = await fetch(this.base + path, {
      method,
      headers: { ...headers, Authorization: `Bearer ${this.key}`, "Content-Type": "application/json" },
      body: body === undefined ? null : JSON.stringify(body),
    });
    if (answer.ok) return (await answer.json()) as T;
    const { error } = (await answer.json()) as Refusal;
    throw new Error(`${error.code} at ${error.param ?? "-"}: ${error.message} (${error.request_id})`);
  }
}

export function told(delivery: Delivery): string {
  const data = delivery.data;
  switch (data.object) {
    case "session":
      if (delivery.type === "session.failed") return `${data.id} failed: ${data.failure?.code ?? "?"}`;
      return `${data.id} is ${data.status} after ${data.usage.billable_seconds} s`;
    case "avatar":
      return `${data.name} is ${data.status}`;
    case "usage_event":
      return `${data.credit_us / 60_000_000} credits for ${data.session_id}`;
    case "usage_threshold":
      return `${data.used_credits} credits used`;
    case "webhook_endpoint":
      return `${data.url}: ${data.disabled_reason ?? "enabled"}`;
  }
}

const transport: CreateSession["transport"] = {
  type: "livekit",
  url: "wss://my-app.livekit.cloud",
  room_name: "demo-room",
  worker_token: "eyJ…",
};
export const smallest: CreateSession = { avatar_id: "av_demo", transport };
// @ts-expect-error no such quality
export const misspelt: CreateSession = { avatar_id: "av_demo", transport, quality: "ultra" };
// @ts-expect-error no transport
export const incomplete: CreateSession = { avatar_id: "av_demo" };
// @ts-expect-error no such field
export const unknown: CreateSession = { avatar_id: "av_demo", transport, colour: "red" };
// @ts-expect-error a status that no session has
export const impossible: Session["status"] = "sleeping";
export const known: keyof paths = "/v1/sessions/{session_id}/end";
