/** The bill of a session, and its proof: taken from the API and verified here, by nobody but the browser. */

import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { bytes, Failure } from "../data/api";
import { client, type Entry, entries as entriesOf } from "../data/queries";
import { count, credits, exact } from "../data/words";
import { Card, Pair, Problem } from "../parts/basic";
import { Icon } from "../parts/icon";
import { type Bill, keysIn, type Step, type Verdict, verify } from "./verify";

const KEPT = "greenroom.keys";

export function BillCard({ id, entries }: { id: string; entries: Entry[] }) {
  const sum = (of: (entry: Entry) => number) => entries.reduce((total, entry) => total + of(entry), 0);
  const byQuality = new Map<string, number>();
  for (const each of entries) byQuality.set(each.billed_as, (byQuality.get(each.billed_as) ?? 0) + each.billable_ms);
  return (
    <Card title="Bill">
      <div className="stack">
        <dl className="pairs num">
          <dt>Credits</dt>
          <dd>
            <strong>{credits(sum((entry) => entry.credit_us))}</strong>
          </dd>
          <dt>Billed time</dt>
          <dd>{exact(sum((entry) => entry.billable_ms))}</dd>
          {[...byQuality].map(([quality, ms]) => (
            <Pair key={quality} name={`As ${quality}`}>
              {exact(ms)}
            </Pair>
          ))}
          <dt>Entries</dt>
          <dd>{count(entries.length)} in one chain</dd>
          {entries.length > 0 && (
            <Pair name="Last hash">
              <code>{entries.at(-1)?.hash.slice(0, 20)}…</code>
            </Pair>
          )}
        </dl>
        <Prove id={id} hashes={entries.map((entry) => entry.hash)} />
      </div>
    </Card>
  );
}

function Prove({ id, hashes }: { id: string; hashes: string[] }) {
  const [keys, setKeys] = useState(() => localStorage.getItem(KEPT) ?? "");
  const [asked, setAsked] = useState(0);
  const proof = useQuery({
    queryKey: ["session", id, "proof"],
    enabled: asked > 0,
    queryFn: async () => new Uint8Array(await bytes(`/v1/sessions/${encodeURIComponent(id)}/proof`)),
    retry: false,
    staleTime: 0,
  });
  const verdict = useQuery({
    queryKey: ["verdict", id, asked, keys, proof.dataUpdatedAt, hashes.length, hashes.at(-1)],
    enabled: proof.data !== undefined,
    queryFn: () => verify(proof.data as Uint8Array<ArrayBuffer>, keysIn(keys), { session: id, hashes }),
    staleTime: Number.POSITIVE_INFINITY,
  });
  const prove = async () => {
    // An adjustment may have come since the page was opened: the proof is held against what is in the ledger now.
    await client.refetchQueries({ queryKey: entriesOf(id).queryKey });
    setAsked(asked + 1);
    if (asked) void proof.refetch();
  };
  return (
    <div className="stack">
      <div className="field">
        <label htmlFor="keys">Public keys that you trust</label>
        <input
          id="keys"
          className="input mono"
          placeholder="from the operator's page, in hex"
          spellCheck={false}
          value={keys}
          onChange={(event) => {
            setKeys(event.target.value);
            localStorage.setItem(KEPT, event.target.value);
          }}
        />
      </div>
      <div className="actions">
        <button type="button" className="button primary" onClick={() => void prove()} disabled={proof.isFetching}>
          <Icon name="shield" size={16} /> Prove it
        </button>
        {proof.data && <Save id={id} content={proof.data} />}
      </div>
      <div aria-live="polite">
        {proof.error && <NotYet failed={proof.error} />}
        {verdict.data && !proof.error && <Shown verdict={verdict.data} />}
        {verdict.data && "bill" in verdict.data && verdict.data.bill.entries < hashes.length && (
          <p className="small muted">
            {count(hashes.length - verdict.data.bill.entries)} later entries are in no sealed day yet, and left out.
          </p>
        )}
      </div>
    </div>
  );
}

function NotYet({ failed }: { failed: Error }) {
  if (!(failed instanceof Failure) || failed.code !== "session_proof.not_found") return <Problem failed={failed} />;
  return (
    <div className="verdict amber">
      <Icon name="shield" size={24} />
      <div>
        <strong>Not sealed yet</strong>
        {failed.message} Until then its entries above are linked by their hashes already.
      </div>
    </div>
  );
}

function Shown({ verdict }: { verdict: Verdict }) {
  if (verdict.kind === "refused" || verdict.kind === "unable") {
    return (
      <div className="stack">
        <div className={`verdict ${verdict.kind === "refused" ? "red" : "amber"}`} data-verdict={verdict.kind}>
          <Icon name={verdict.kind === "refused" ? "cross" : "warn"} size={24} />
          <div>
            <strong>{verdict.kind === "refused" ? "Refused" : "Not verified"}</strong>
            This bill is not proven: {verdict.why}.
          </div>
        </div>
        <Steps steps={verdict.steps} />
      </div>
    );
  }
  const proven = verdict.kind === "proven";
  return (
    <div className="stack">
      <div className={`verdict ${proven ? "green" : "amber"}`} data-verdict={verdict.kind}>
        <Icon name="shield" size={24} />
        <div>
          <strong>{proven ? "Proven" : "It holds together"}</strong>
          {words(verdict.bill)}
          {!proven && " No key of yours was given, so whoever wrote it may have signed it himself. It is signed by:"}
        </div>
      </div>
      {verdict.kind === "unsigned" && verdict.keys.map((key) => <code key={key}>{key}</code>)}
      <Steps steps={verdict.steps} />
    </div>
  );
}

function words({ creditUs, billableMs, day }: Bill): string {
  return `${credits(creditUs)} credits for ${exact(billableMs)}, sealed on ${day}.`;
}

function Steps({ steps }: { steps: Step[] }) {
  return (
    <ul className="steps small">
      {steps.map((step) => (
        <li key={step.what + step.detail}>
          <Icon name="check" size={14} />
          <div>
            {step.what}
            <div className="muted">{step.detail}</div>
          </div>
        </li>
      ))}
    </ul>
  );
}

function Save({ id, content }: { id: string; content: Uint8Array<ArrayBuffer> }) {
  const save = () => {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([content], { type: "application/json" }));
    link.download = `${id}.proof.json`;
    link.click();
    URL.revokeObjectURL(link.href);
  };
  return (
    <button type="button" className="button" onClick={save}>
      <Icon name="down" size={16} /> Save the file
    </button>
  );
}
