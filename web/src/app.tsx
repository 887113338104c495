/** Which page stands for which address, and for whom. */

import { useQuery } from "@tanstack/react-query";
import { Component, lazy, type ReactNode, Suspense, useEffect } from "react";
import { Route, Switch, useLocation } from "wouter";
import { Failure, type Me, may, OPERATOR } from "./data/api";
import { useNews } from "./data/live";
import { client, ME, me } from "./data/queries";
import { LogIn } from "./pages/login";
import { Sessions } from "./pages/sessions";
import { Empty, Loading, Problem } from "./parts/basic";
import { Shell } from "./parts/shell";

const Session = lazy(() => import("./pages/session"));
const Talk = lazy(() => import("./pages/talk"));
const Avatars = lazy(() => import("./pages/avatars"));
const Webhooks = lazy(() => import("./pages/webhooks"));
const Endpoint = lazy(() => import("./pages/endpoint"));
const Usage = lazy(() => import("./pages/usage"));
const Operator = lazy(() => import("./pages/operator"));

export function App() {
  const asked = useQuery(me);
  const out = asked.error instanceof Failure && asked.error.loggedOut ? asked.error : null;
  const known = out ? undefined : asked.data;
  useLeaving();
  useNews(known !== undefined && may(known, "events:read") ? known.key_id : null);
  if (out) return <LogIn because={out} />;
  if (!known) {
    return (
      <main className="login">
        <Loading of={asked} />
      </main>
    );
  }
  return (
    <Shell key={known.key_id} me={known}>
      <Fence>
        <Suspense fallback={<div className="skeleton" />}>
          <Pages me={known} />
        </Suspense>
      </Fence>
    </Shell>
  );
}

function Pages({ me }: { me: Me }) {
  const page = (scope: string, shown: ReactNode) => (may(me, scope) ? shown : <Lacking scope={scope} />);
  return (
    <Switch>
      <Route path="/">{page("sessions:read", <Sessions />)}</Route>
      <Route path="/sessions/:id">{({ id }) => page("sessions:read", <Session key={id} id={id} me={me} />)}</Route>
      <Route path="/talk">{page("sessions:write", <Talk me={me} />)}</Route>
      <Route path="/avatars">{page("avatars:read", <Avatars me={me} />)}</Route>
      <Route path="/webhooks">{page("webhooks:read", <Webhooks me={me} />)}</Route>
      <Route path="/webhooks/:id">{({ id }) => page("webhooks:read", <Endpoint key={id} id={id} me={me} />)}</Route>
      <Route path="/operations">{page(OPERATOR, <Operator />)}</Route>
      <Route path="/usage">{page("account:read", <Usage me={me} />)}</Route>
      <Route>
        <Empty icon="search" title="There is nothing at this address">
          <p>What you look for may have been moved: begin with the sessions.</p>
        </Empty>
      </Route>
    </Switch>
  );
}

function Lacking({ scope }: { scope: string }) {
  return (
    <Empty icon="shield" title="Your key may not look at this">
      <p>
        It lacks the scope <code>{scope}</code>. <code>greenroom keys create --scope {scope}</code> makes one that has
        it.
      </p>
    </Empty>
  );
}

/** A key that was revoked is told by whatever was asked for next. */
function useLeaving(): void {
  useEffect(
    () =>
      client.getQueryCache().subscribe(({ query }) => {
        const failed = query.state.error;
        if (failed instanceof Failure && failed.loggedOut && query.queryKey[0] !== ME[0]) {
          void client.invalidateQueries({ queryKey: ME });
        }
      }),
    [],
  );
}

/** A page that breaks takes nothing else with it, and the next address is shown again. */
class Catching extends Component<{ children: ReactNode; place: string }, { failed: Error | null; place: string }> {
  override state = { failed: null as Error | null, place: this.props.place };

  static getDerivedStateFromError(failed: Error) {
    return { failed };
  }

  static getDerivedStateFromProps(props: { place: string }, state: { place: string }) {
    return props.place === state.place ? null : { failed: null, place: props.place };
  }

  override render() {
    if (!this.state.failed) return this.props.children;
    return <Problem failed={this.state.failed} again={() => this.setState({ failed: null })} />;
  }
}

function Fence({ children }: { children: ReactNode }) {
  const [place] = useLocation();
  return <Catching place={place}>{children}</Catching>;
}
