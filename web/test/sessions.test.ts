import { expect, test } from "vitest";
import type { Session } from "../src/data/api";
import { EVERYTHING, fits, later, matches, notBack, query, withNews } from "../src/data/sessions";

const session = (id: string, more: Partial<Session> = {}) =>
  ({
    id,
    status: "running",
    avatar_id: "av_demo",
    transport: { room_name: "Room-7", worker_identity: "avatar" },
    metadata: { customer: "Ada <b>", n: 7 },
    ...more,
  }) as Session;

const page = (...data: Session[]) => ({ data, has_more: false, next_cursor: null });
const ids = (pages: { data: Session[] }[]) => pages.flatMap((each) => each.data.map((one) => one.id));

test("news take the place of what they are of", () => {
  const pages = [page(session("sess_3"), session("sess_2")), page(session("sess_1"))];
  const told = withNews(pages, session("sess_1", { status: "ended" }), EVERYTHING);
  expect(ids(told)).toEqual(["sess_3", "sess_2", "sess_1"]);
  expect(told[1]?.data[0]?.status).toBe("ended");
});

test("a new session stands at the top, an old one that is not loaded nowhere", () => {
  const pages = [page(session("sess_3")), page(session("sess_2"))];
  expect(ids(withNews(pages, session("sess_4"), EVERYTHING))).toEqual(["sess_4", "sess_3", "sess_2"]);
  expect(ids(withNews(pages, session("sess_1"), EVERYTHING))).toEqual(["sess_3", "sess_2"]);
  expect(ids(withNews([page()], session("sess_1"), EVERYTHING))).toEqual(["sess_1"]);
});

test("what does not fit the filter leaves it, and does not join it", () => {
  const active = { ...EVERYTHING, status: "active" } as const;
  expect(ids(withNews([page(session("sess_1"))], session("sess_1", { status: "ended" }), active))).toEqual([]);
  expect(ids(withNews([page()], session("sess_2", { status: "failed" }), active))).toEqual([]);
  expect(fits(session("sess_1"), { ...EVERYTHING, avatar: "av_other" })).toBe(false);
});

test("no status goes back", () => {
  const ended = session("sess_1", { status: "ended" });
  expect(later(ended, session("sess_1", { status: "running" }))).toBe(ended);
  expect(later(session("sess_1"), ended)).toBe(ended);
});

test("what was asked for before the news does not undo them", () => {
  const told = new Map([["sess_1", session("sess_1", { status: "ended" })]]);
  const fresh = { pages: [page(session("sess_2"), session("sess_1"))], pageParams: [""] };
  expect(notBack(fresh, told, EVERYTHING).pages[0]?.data.map((each) => each.status)).toEqual(["running", "ended"]);
  expect(ids(notBack(fresh, told, { ...EVERYTHING, status: "active" }).pages)).toEqual(["sess_2"]);
  const again = new Map([["sess_1", session("sess_1", { status: "starting" })]]);
  expect(notBack(fresh, again, EVERYTHING).pages[0]?.data[1]?.status).toBe("running");
});

test("what is looked for is in any of the fields", () => {
  for (const text of ["", "SESS_1", "room-7", "ada <b>", "customer", "7", " avatar "]) {
    expect(matches(session("sess_1"), text), text).toBe(true);
  }
  expect(matches(session("sess_1"), "elsewhere")).toBe(false);
});

test("what is asked for", () => {
  expect(query(EVERYTHING, 0)).toEqual({});
  expect(query({ status: "active", avatar: "av_1", within: "1h" }, 3_600_000)).toEqual({
    status: ["active"],
    avatar_id: "av_1",
    created_after: "1970-01-01T00:00:00.000Z",
  });
});
