/** A bill verified in the browser: what examples/verify_proof.py does, with WebCrypto. The rules, in words:
 * docs/how-to/prove-a-bill.md. Nothing but the bytes of the file and a key decides. */

import { bytes, canonical, fromHex, type Json, joined, toHex } from "./canonical";

export type Step = { what: string; detail: string };

export type Verdict =
  | { kind: "proven"; steps: Step[]; bill: Bill }
  /** It holds together, but no key of yours was given: whoever wrote it may have signed it himself. */
  | { kind: "unsigned"; steps: Step[]; bill: Bill; keys: string[] }
  | { kind: "refused"; steps: Step[]; why: string }
  /** Nothing is said of the bill: this browser lacks what it takes. */
  | { kind: "unable"; steps: Step[]; why: string };

export type Bill = {
  session: string;
  creditUs: number;
  billableMs: number;
  frames: number;
  entries: number;
  /** The hash of the last entry. */
  head: string;
  day: string;
};

type Members = { [name: string]: Json };

class Refused extends Error {}

function need(holds: boolean, why: string): asserts holds {
  if (!holds) throw new Refused(why);
}

/** What the proof has to be of: the session that is looked at, and the hashes of the entries that are shown, in order. */
export type Shown = { session: string; hashes: string[] };

/** Public keys as somebody pastes them. */
export function keysIn(pasted: string): string[] {
  return pasted
    .toLowerCase()
    .split(/[\s,]+/)
    .filter(Boolean);
}

/** `content`: the file as it came. `keys`: public keys that you trust, in hex. Never throws. */
export async function verify(content: Uint8Array<ArrayBuffer>, keys: string[], shown: Shown): Promise<Verdict> {
  const steps: Step[] = [];
  try {
    const proof = parsed(content);
    steps.push({ what: "The file is as it was written", detail: `${content.length} bytes of canonical JSON` });
    need(proof.session_id === shown.session, "it is the bill of another session");
    const bill = await check(proof, keys, steps);
    need(shown.hashes[bill.entries - 1] === bill.head, "its entries are others than those that this page shows");
    if (keys.length) return { kind: "proven", steps, bill };
    return {
      kind: "unsigned",
      steps,
      bill,
      keys: [...new Set(list(proof.seals).map((seal) => text(seal.public_key)))],
    };
  } catch (wrong) {
    if (wrong instanceof Unable) return { kind: "unable", steps, why: wrong.message };
    return { kind: "refused", steps, why: wrong instanceof Refused ? wrong.message : `it is damaged (${wrong})` };
  }
}

function parsed(content: Uint8Array<ArrayBuffer>): Members {
  const source = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(content);
  const proof = JSON.parse(source) as Json;
  need(canonical(proof) === source, "it is not as it was written: some byte is another");
  const found = members(proof);
  const kind = canonical([found.object ?? null, found.version ?? null, Object.keys(found).length]);
  need(kind === '["usage_proof",1,5]', "it is another kind of file");
  return found;
}

async function check(proof: Members, keys: string[], steps: Step[]): Promise<Bill> {
  const entries = list(proof.entries);
  const heads = await chain(entries, text(proof.session_id));
  steps.push({
    what: "Each entry carries the hash of the one before",
    detail: `${entries.length} entries in one chain`,
  });
  const seals = list(proof.seals);
  const days = seals.map((seal) => text(members(seal.day).day));
  let bill: Bill | undefined;
  for (const seal of seals) bill = await sealed(seal, entries, heads, keys, steps);
  need(bill !== undefined && bill.entries === entries.length, "it has entries that are in no sealed day");
  need(
    days.every((day, n) => n === 0 || (days[n - 1] as string) < day),
    "its days are out of order",
  );
  return bill;
}

/** Each is hashed with the hash of the one before. Returns the hashes, one more than there are entries. */
async function chain(entries: Members[], session: string): Promise<string[]> {
  const heads = ["0".repeat(64)];
  for (const entry of entries) {
    heads.push(toHex(await sha256(bytes(heads.at(-1) + canonical(entry)))));
    need(entry.session_id === session, "it has an entry of another session");
  }
  return heads;
}

/** The chain as it was at a day's end: its leaf, the way to the day's root, and the signature of the day. */
async function sealed(seal: Members, all: Members[], heads: string[], keys: string[], steps: Step[]): Promise<Bill> {
  const day = members(seal.day);
  const name = text(day.day);
  need(Object.keys(seal).length === 6, "it has more, or another, than is proven");
  const count = whole(seal.entries);
  const entries = all.slice(0, count);
  need(entries.length === count && count > 0, "it has fewer entries than were sealed");
  const sums = {
    billable_ms: sum(entries, "billable_ms"),
    credit_us: sum(entries, "credit_us"),
    frames: sum(entries, "frames"),
  };
  const { account_id, session_id } = entries[0] as Members;
  const leaf: Members = {
    ...sums,
    account_id: account_id as Json,
    session_id: session_id as Json,
    entries: count,
    hash: heads[count] as string,
  };
  const path = (seal.path as Json[]).map(text);
  const start = await sha256(joined(Uint8Array.of(0), bytes(canonical(leaf))));
  const end = await root(start, whole(seal.index), whole(day.leaves), path);
  need(end === day.root, `the way to the root of ${name} leads elsewhere`);
  steps.push({
    what: `The bill is in the tree of ${name}`,
    detail: `${path.length} steps to the root ${end.slice(0, 12)}…`,
  });
  const key = text(seal.public_key);
  need(await signed(key, canonical(day), text(seal.signature)), `the signature of ${name} is not of this key`);
  need(keys.length === 0 || keys.includes(key), `the key ${key.slice(0, 16)}… is none of yours`);
  steps.push({ what: `${name} is signed`, detail: `Ed25519, key ${key.slice(0, 16)}…` });
  return {
    session: text(session_id),
    creditUs: sums.credit_us,
    billableMs: sums.billable_ms,
    frames: sums.frames,
    entries: count,
    head: leaf.hash as string,
    day: name,
  };
}

/** Beside an odd one stands the left, beside an even one the right, if there is one. Empty: the path does not fit. */
export async function root(leaf: Uint8Array, index: number, size: number, path: string[]): Promise<string> {
  const rest = [...path];
  let node = leaf;
  while (size > 1) {
    if (index % 2 === 1 || index + 1 < size) {
      const other = fromHex(rest.shift() ?? "");
      need(other !== null && other.length === 32, "its path has digits that are none of ours");
      node = await sha256(joined(Uint8Array.of(1), ...(index % 2 === 1 ? [other, node] : [node, other])));
    }
    [index, size] = [Math.floor(index / 2), Math.ceil(size / 2)];
  }
  return rest.length || index ? "" : toHex(node);
}

class Unable extends Error {}

async function signed(key: string, message: string, signature: string): Promise<boolean> {
  const [raw, mark] = [fromHex(key), fromHex(signature)];
  need(raw?.length === 32 && mark?.length === 64, "its key or its signature has digits that are none of ours");
  let imported: CryptoKey;
  try {
    imported = await crypto.subtle.importKey("raw", raw, { name: "Ed25519" }, false, ["verify"]);
  } catch (failed) {
    if ((failed as DOMException).name === "NotSupportedError") {
      throw new Unable("this browser cannot check Ed25519 signatures; a current Chrome, Firefox or Safari can");
    }
    return false;
  }
  return crypto.subtle.verify({ name: "Ed25519" }, imported, mark, bytes(message));
}

async function sha256(data: Uint8Array<ArrayBuffer>): Promise<Uint8Array<ArrayBuffer>> {
  return new Uint8Array(await crypto.subtle.digest("SHA-256", data));
}

function members(value: Json | undefined): Members {
  need(typeof value === "object" && value !== null && !Array.isArray(value), "it has another form than a proof");
  return value;
}

function list(value: Json | undefined): Members[] {
  need(Array.isArray(value), "it has another form than a proof");
  return value.map(members);
}

function text(value: Json | undefined): string {
  need(typeof value === "string", "it has another form than a proof");
  return value;
}

function whole(value: Json | undefined): number {
  need(typeof value === "number" && Number.isSafeInteger(value) && value >= 0, "it has another form than a proof");
  return value;
}

function sum(entries: Members[], name: string): number {
  return entries.reduce((total, entry) => {
    const value = entry[name];
    need(typeof value === "number" && Number.isSafeInteger(value), "it has another form than a proof");
    return total + value;
  }, 0);
}
