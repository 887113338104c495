import { expect, test } from "vitest";
import type { Me } from "../src/data/api";
import { client, ME, speaksFor } from "../src/data/queries";

test("what was asked for by one key is gone when another speaks", () => {
  const me = { key_id: "key_1" } as Me;
  client.setQueryData(ME, me);
  client.setQueryData(["session", "sess_1"], {});
  speaksFor(me);
  speaksFor({ ...me });
  expect(client.getQueryData(["session", "sess_1"])).toBeDefined();
  speaksFor({ ...me, key_id: "key_2" });
  expect(client.getQueryData(["session", "sess_1"])).toBeUndefined();
  expect(client.getQueryData(ME)).toBe(me);
});
