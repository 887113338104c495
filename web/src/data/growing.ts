/** Lists that only grow, looked at every some seconds: what is known is not asked for again. Pure. */

export type Page<T> = { data: T[]; has_more: boolean; next_cursor: string | null };

/** In order. `after`: where its last page that was not full begins, `before`: how many items are before it. */
export type Grown<T> = { items: T[]; after: string | undefined; before: number };

/** With what has come since: the last page is read again, and what follows it. */
export async function grown<T>(
  known: Grown<T> | undefined,
  ask: (after: string | undefined) => Promise<Page<T>>,
): Promise<Grown<T>> {
  let { after, before } = known ?? { after: undefined, before: 0 };
  const items = known?.items.slice(0, before) ?? [];
  for (;;) {
    const page = await ask(after);
    items.push(...page.data);
    if (!page.has_more || page.next_cursor === null) return { items, after, before };
    after = page.next_cursor;
    before = items.length;
  }
}

/** Of a list that tells the newest first, as it grew: pages are read until the oldest item of one is known. */
export async function caughtUp<T extends { id: string }>(
  known: readonly T[],
  ask: (after: string | undefined) => Promise<Page<T>>,
): Promise<T[]> {
  const places = new Map(known.map((each, n) => [each.id, n]));
  const fresh: T[] = [];
  let after: string | undefined;
  do {
    const page = await ask(after);
    fresh.push(...page.data);
    const place = places.get(fresh.at(-1)?.id ?? "");
    if (place !== undefined) return [...known.slice(0, place), ...fresh.reverse()];
    after = page.has_more ? (page.next_cursor ?? undefined) : undefined;
  } while (after);
  return fresh.reverse();
}
