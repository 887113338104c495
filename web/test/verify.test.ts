import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { bytes, canonical, fromHex, type Json, toHex } from "../src/proof/canonical";
import { keysIn, root, verify } from "../src/proof/verify";

/** The file that tests/web tries the script of examples/ with. */
const FILE = new Uint8Array(readFileSync(new URL("../../tests/assets/proof.json", import.meta.url)));
const KEY = "03a107bff3ce10be1d70dd18e74bc09967e4d6309ba50d5f1ddc8664125531b8";

type Proof = { entries: Record<string, Json>[]; seals: Record<string, Json>[] } & Record<string, Json>;

const read = () => JSON.parse(new TextDecoder().decode(FILE)) as Proof;
const pathOf = (proof: Proof) => (proof.seals[0] as { path: Json[] }).path;

/** Of the page that shows this bill. */
const hashes: string[] = [];
for (const entry of read().entries) {
  const before = hashes.at(-1) ?? "0".repeat(64);
  hashes.push(
    createHash("sha256")
      .update(`${before}${canonical(entry)}`)
      .digest("hex"),
  );
}
const SHOWN = { session: read().session_id as string, hashes };
const forged = (proof: Proof) => verify(bytes(canonical(proof)), [KEY], SHOWN);

test("a bill is proven by a key that is trusted", async () => {
  const verdict = await verify(FILE, ["00".repeat(32), KEY], SHOWN);
  expect(verdict.kind).toBe("proven");
  if (verdict.kind !== "proven") return;
  expect(verdict.bill).toMatchObject({ billableMs: 25_000, creditUs: 25_000_000, entries: 7, day: "2026-10-22" });
  expect(verdict.steps.map((step) => step.what)).toContain("2026-10-21 is signed");
});

test("a bill is of the session and of the entries that are looked at, however well it is sealed", async () => {
  expect(await verify(FILE, [KEY], { ...SHOWN, session: "sess_other" })).toMatchObject({
    kind: "refused",
    why: "it is the bill of another session",
  });
  for (const hashes of [[], SHOWN.hashes.slice(0, -1), ["00".repeat(32), ...SHOWN.hashes]]) {
    expect((await verify(FILE, [KEY], { ...SHOWN, hashes })).kind).toBe("refused");
  }
  expect((await verify(FILE, [KEY], { ...SHOWN, hashes: [...SHOWN.hashes, "00".repeat(32)] })).kind).toBe("proven");
});

test("a key in capitals is the same key", () => {
  expect(keysIn(` ${KEY.toUpperCase()},\n00 `)).toEqual([KEY, "00"]);
});

test("without a key it holds together, and says by whom it is signed", async () => {
  expect(await verify(FILE, [], SHOWN)).toMatchObject({ kind: "unsigned", keys: [KEY] });
});

test("another key is refused", async () => {
  expect(await verify(FILE, ["00".repeat(32)], SHOWN)).toMatchObject({
    kind: "refused",
    why: expect.stringContaining("none of yours"),
  });
});

test("one bit that is another is refused wherever it is", async () => {
  for (let place = 0; place < FILE.length; place += 7) {
    const flipped = FILE.slice();
    flipped[place] = (flipped[place] as number) ^ (1 << (place % 8));
    expect((await verify(flipped, [KEY], SHOWN)).kind, `byte ${place}`).toBe("refused");
  }
}, 60_000);

test("a forged bill is refused: whole and canonical, but not what was sealed", async () => {
  const forge: Record<string, (proof: Proof) => void> = {
    "an entry less": (proof) => proof.entries.pop(),
    "an entry more": (proof) => proof.entries.push({ ...proof.entries[6], n: 2 } as Record<string, Json>),
    "another amount": (proof) => Object.assign(proof.entries[0] as object, { credit_us: 1 }),
    "another session": (proof) => Object.assign(proof, { session_id: "sess_other" }),
    "another order": (proof) => proof.entries.reverse(),
    "another place in the tree": (proof) => Object.assign(proof.seals[0] as object, { index: 3 }),
    "a shorter path": (proof) => pathOf(proof).pop(),
    "a longer path": (proof) => pathOf(proof).push("00".repeat(32)),
    "a day less": (proof) => proof.seals.pop(),
    "no day": (proof) => Object.assign(proof, { seals: [] }),
    "days twice": (proof) => proof.seals.push(proof.seals[1] as Record<string, Json>),
    "more in a seal": (proof) => Object.assign(proof.seals[0] as object, { note: "" }),
    "a number that is none": (proof) => Object.assign(proof.entries[0] as object, { credit_us: "5000000" }),
  };
  for (const [what, change] of Object.entries(forge)) {
    const proof = read();
    change(proof);
    expect((await forged(proof)).kind, what).toBe("refused");
  }
});

test("a day that somebody else has signed is refused, however whole", async () => {
  const pair = (await crypto.subtle.generateKey("Ed25519", true, ["sign", "verify"])) as CryptoKeyPair;
  const key = toHex(new Uint8Array(await crypto.subtle.exportKey("raw", pair.publicKey)));
  const proof = read();
  for (const seal of proof.seals) {
    const mark = await crypto.subtle.sign("Ed25519", pair.privateKey, bytes(canonical(seal.day as Json)));
    Object.assign(seal, { public_key: key, signature: toHex(new Uint8Array(mark)) });
  }
  const content = bytes(canonical(proof));
  expect((await verify(content, [KEY], SHOWN)).kind).toBe("refused");
  expect((await verify(content, [key], SHOWN)).kind).toBe("proven");
});

test.each([
  "",
  "[]",
  "null",
  '{"a":1}',
  '{"entries":[],"object":"usage_proof","seals":[],"session_id":"s","version":1}',
])("what is no proof: %s", async (text) => {
  expect((await verify(bytes(text), [KEY], SHOWN)).kind).toBe("refused");
});

test("a path of one leaf is empty, and what is too long leads nowhere", async () => {
  const leaf = new Uint8Array(32);
  expect(await root(leaf, 0, 1, [])).toBe("00".repeat(32));
  expect(await root(leaf, 0, 1, ["00".repeat(32)])).toBe("");
  expect(await root(leaf, 1, 1, [])).toBe("");
});

test("digits that are none", () => {
  expect(fromHex("0g")).toBeNull();
  expect(fromHex("AA")).toBeNull();
  expect(fromHex("abc")).toBeNull();
});
