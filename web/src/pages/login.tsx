import { useState } from "react";
import { Failure, ours } from "../data/api";
import { client, forget, ME } from "../data/queries";
import { tellOthers } from "../data/windows";
import { Problem } from "../parts/basic";
import { Icon } from "../parts/icon";
import { Brand } from "../parts/shell";

/** `because`: why nobody is logged in. */
export function LogIn({ because }: { because: Failure }) {
  const [busy, setBusy] = useState(false);
  const [failed, setFailed] = useState<Error | null>(null);
  const first = because.code === "api_key.missing";

  const submit = async (form: FormData) => {
    setBusy(true);
    try {
      await ours("POST", "login", { key: form.get("key") });
      forget();
      tellOthers();
      await client.resetQueries({ queryKey: ME });
    } catch (wrong) {
      setFailed(wrong instanceof Failure ? wrong : new Failure(0, "unknown", String(wrong)));
    } finally {
      setBusy(false);
    }
  };

  if (!isSecureContext) return <Insecure />;
  return (
    <main className="login">
      <div className="card">
        <Brand />
        <h1>Log in with your API key</h1>
        <p className="muted">
          It is sent once and kept nowhere: your browser gets a sealed cookie, good for twelve hours or until the key is
          revoked.
        </p>
        <form
          onSubmit={(event) => {
            event.preventDefault();
            void submit(new FormData(event.currentTarget));
          }}
        >
          {failed ? <Problem failed={failed} /> : !first && <Problem failed={because} />}
          <div className="field">
            <label htmlFor="key">API key</label>
            <input
              id="key"
              name="key"
              className="input mono"
              type="password"
              placeholder="sk_…"
              autoComplete="current-password"
              spellCheck={false}
              required
            />
            <span className="hint">
              <code>greenroom keys create</code> makes one; the key of a local stack is in{" "}
              <code>.greenroom/stack.json</code>.
            </span>
          </div>
          <button type="submit" className="button primary wide" disabled={busy}>
            {busy ? "Logging in…" : "Log in"}
          </button>
        </form>
      </div>
    </main>
  );
}

/** A key that is typed here would be sent for anybody on its way to read, refused or not. */
function Insecure() {
  return (
    <main className="login">
      <div className="card">
        <Brand />
        <h1>Log in over https</h1>
        <div className="notice amber" role="status">
          <Icon name="warn" />
          <div>
            Over plain http your key could be read on its way, so it is not asked for. Put TLS before the API, or come
            by a tunnel to <code>127.0.0.1</code>.
          </div>
        </div>
      </div>
    </main>
  );
}
