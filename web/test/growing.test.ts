import { expect, test } from "vitest";
import { caughtUp, type Grown, grown, type Page } from "../src/data/growing";

const SIZE = 100;
const item = (n: number) => ({ id: `use_${n}`, n });
type Item = ReturnType<typeof item>;

/** As the API pages: by the id of the last item, in the order of `all`. Counts what it was asked for. */
function paged(all: () => Item[]) {
  const asked: number[] = [];
  const ask = async (after: string | undefined): Promise<Page<Item>> => {
    const from = after ? all().findIndex((each) => each.id === after) + 1 : 0;
    const data = all().slice(from, from + SIZE);
    asked.push(data.length);
    const has_more = from + SIZE < all().length;
    return { data, has_more, next_cursor: has_more ? (data.at(-1)?.id ?? null) : null };
  };
  return { ask, asked };
}

const upTo = (count: number) => Array.from({ length: count }, (_, n) => item(n));

test("of a list that grew, its end alone is read again", async () => {
  let all = upTo(1_250);
  const { ask, asked } = paged(() => all);
  let known: Grown<Item> | undefined;
  known = await grown(known, ask);
  expect(known.items).toEqual(all);
  expect(asked.length).toBe(13);
  for (const count of [1_250, 1_251, 1_299, 1_300, 1_301, 1_620]) {
    asked.length = 0;
    all = upTo(count);
    known = await grown(known, ask);
    expect(known.items).toEqual(all);
    expect(asked.length).toBe(count === 1_620 ? 4 : count === 1_301 ? 2 : 1);
  }
});

test("a list of nothing, which becomes one of something", async () => {
  let all: Item[] = [];
  const { ask } = paged(() => all);
  const none = await grown(undefined, ask);
  expect(none.items).toEqual([]);
  all = upTo(3);
  expect((await grown(none, ask)).items).toEqual(all);
});

test("of a list that tells the newest first, what is known is not read again", async () => {
  let all = upTo(1_250);
  const { ask, asked } = paged(() => all.toReversed());
  let known = await caughtUp([], ask);
  expect(known).toEqual(all);
  for (const count of [1_250, 1_251, 1_349, 1_350, 1_600]) {
    asked.length = 0;
    all = upTo(count);
    known = await caughtUp(known, ask);
    expect(known).toEqual(all);
    expect(asked.length).toBeLessThanOrEqual(count === 1_600 ? 3 : 1);
  }
});

test("what came between two that are known takes its place", async () => {
  const all = [item(1), item(2), item(3)];
  expect(await caughtUp([item(1), item(3)], paged(() => all.toReversed()).ask)).toEqual(all);
});

test("a list whose known items are gone is read anew", async () => {
  const all = [item(7), item(8)];
  expect(await caughtUp([item(1)], paged(() => all.toReversed()).ask)).toEqual(all);
  expect(await caughtUp([item(1)], paged(() => []).ask)).toEqual([]);
});
