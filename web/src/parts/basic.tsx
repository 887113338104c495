/** What every page is made of. */

import { type ReactNode, useEffect, useRef, useState } from "react";
import { Link } from "wouter";
import { Failure, type Status } from "../data/api";
import { moment, sentence, whole } from "../data/words";
import { Icon, type IconName } from "./icon";

const COLOUR: Record<string, string> = {
  running: "green pulse",
  ready: "green",
  operational: "green",
  delivered: "green",
  enabled: "green",
  starting: "blue pulse",
  processing: "blue pulse",
  queued: "amber pulse",
  created: "amber pulse",
  pending: "amber pulse",
  degraded: "amber",
  draining: "amber",
  failing: "amber",
  ending: "violet pulse",
  failed: "red",
  given_up: "red",
  outage: "red",
  disabled: "red",
};

export function Badge({ status }: { status: Status | string }) {
  return <span className={`badge ${COLOUR[status] ?? ""}`}>{sentence(status)}</span>;
}

/** `from`: address and name of the page that it is below. */
export function Head({
  title,
  from,
  children,
  actions,
}: {
  title: ReactNode;
  from?: readonly [path: string, name: string];
  children?: ReactNode;
  actions?: ReactNode;
}) {
  return (
    <div className="head">
      <div>
        {from && (
          <Link href={from[0]} className="crumb">
            <Icon name="back" size={14} /> {from[1]}
          </Link>
        )}
        <h1>{title}</h1>
        {children}
      </div>
      {actions && <div className="actions">{actions}</div>}
    </div>
  );
}

export function Card({
  title,
  actions,
  children,
  flush = false,
}: {
  title: string;
  actions?: ReactNode;
  children: ReactNode;
  flush?: boolean;
}) {
  return (
    <section className="card" aria-label={title}>
      <header>
        <h2>{title}</h2>
        {actions}
      </header>
      {flush ? children : <div className="body">{children}</div>}
    </section>
  );
}

export function Empty({ icon, title, children }: { icon: IconName; title: string; children?: ReactNode }) {
  return (
    <div className="empty">
      <Icon name={icon} size={28} />
      <strong>{title}</strong>
      {children}
    </div>
  );
}

/** What went wrong, in the API's own words, which say what to do; and the id to quote. */
export function Problem({ failed, again }: { failed: Error; again?: () => void }) {
  const known = failed instanceof Failure ? failed : null;
  return (
    <div className="notice red" role="alert">
      <Icon name="warn" />
      <div>
        {failed.message}
        {known?.requestId && (
          <div className="small">
            <code>{known.code}</code> · <code>{known.requestId}</code>
          </div>
        )}
      </div>
      {again && (
        <button type="button" className="button tiny" onClick={again}>
          Try again
        </button>
      )}
    </div>
  );
}

type Asked = { error: Error | null; isPending: boolean; data: unknown; refetch?: () => unknown };

/** Until there is something to show: a place for it, or what went wrong. */
export function Loading({ of }: { of: Asked }) {
  if (of.error && !of.data)
    return <Problem failed={of.error} {...(of.refetch ? { again: () => void of.refetch?.() } : {})} />;
  return (
    <div className="skeleton" role="status">
      <span className="hidden-visually">Loading</span>
    </div>
  );
}

export function Copy({ text, shown, what = "id" }: { text: string; shown?: string; what?: string }) {
  const [done, setDone] = useState(false);
  const timer = useRef<ReturnType<typeof setTimeout>>(undefined);
  useEffect(() => () => clearTimeout(timer.current), []);
  const copy = async () => {
    const copied = await navigator.clipboard.writeText(text).then(
      () => true,
      () => false,
    );
    setDone(copied);
    clearTimeout(timer.current);
    timer.current = setTimeout(() => setDone(false), 1500);
  };
  return (
    <button type="button" className="copy" onClick={() => void copy()} title={`Copy ${what}`}>
      <code>{shown ?? text}</code>
      <Icon name={done ? "check" : "copy"} size={14} />
      <span className="hidden-visually" role="status">
        {done ? "Copied" : ""}
      </span>
      <span className="hidden-visually">Copy {what}</span>
    </button>
  );
}

export function Time({ at }: { at: string }) {
  return (
    <time dateTime={at} title={whole(at)} className="num">
      {moment(at)}
    </time>
  );
}

export function Segmented<T extends string>({
  label,
  value,
  options,
  onChange,
}: {
  label: string;
  value: T;
  options: readonly (readonly [T, string])[];
  onChange: (value: T) => void;
}) {
  return (
    <fieldset className="segmented plain">
      <legend className="hidden-visually">{label}</legend>
      {options.map(([each, text]) => (
        <button key={each} type="button" aria-pressed={each === value} onClick={() => onChange(each)}>
          {text}
        </button>
      ))}
    </fieldset>
  );
}

/** A modal window: the browser keeps the focus in it, closes it by Escape, and gives the focus back. */
export function Dialog({ title, onClose, children }: { title: string; onClose: () => void; children: ReactNode }) {
  const dialog = useRef<HTMLDialogElement>(null);
  useEffect(() => dialog.current?.showModal(), []);
  return (
    <dialog ref={dialog} onClose={onClose} aria-label={title}>
      <div>
        <div className="row between">
          <h2>{title}</h2>
          <button type="button" className="button ghost icon" onClick={onClose} aria-label="Close">
            <Icon name="cross" />
          </button>
        </div>
        {children}
      </div>
    </dialog>
  );
}

/** Asks before what cannot be taken back. */
export function Sure({
  title,
  children,
  verb,
  keep = "Keep it",
  busy,
  onYes,
  onNo,
}: {
  title: string;
  children: ReactNode;
  verb: string;
  keep?: string;
  busy: boolean;
  onYes: () => void;
  onNo: () => void;
}) {
  return (
    <Dialog title={title} onClose={onNo}>
      <div className="muted">{children}</div>
      <footer>
        <button type="button" className="button" onClick={onNo}>
          {keep}
        </button>
        <button type="button" className="button danger" onClick={onYes} disabled={busy}>
          {verb}
        </button>
      </footer>
    </Dialog>
  );
}

/** Of a field for the address of a LiveKit that is not the console's: the page's policy lets no other through. */
export function OverTls() {
  return (
    <span className="hint">
      By <code>wss://</code>: from here no other address is reached.
    </span>
  );
}

/** One of a row of figures. */
export function Figure({ name, children }: { name: string; children: ReactNode }) {
  return (
    <div>
      <dt>{name}</dt>
      <dd>{children}</dd>
    </div>
  );
}

/** Of a list of names and values. */
export function Pair({ name, children }: { name: string; children: ReactNode }) {
  return (
    <>
      <dt>{name}</dt>
      <dd>{children}</dd>
    </>
  );
}

/** The head of a table. */
export function Columns({ of }: { of: readonly string[] }) {
  return (
    <thead>
      <tr>
        {of.map((name) => (
          <th key={name} scope="col">
            {name}
          </th>
        ))}
      </tr>
    </thead>
  );
}
