/** What stands around every page. */

import { useQuery } from "@tanstack/react-query";
import { type ReactNode, useEffect, useRef } from "react";
import { Link, useLocation } from "wouter";
import { type Me, may, OPERATOR, ours } from "../data/api";
import { useConnected } from "../data/live";
import { account, client, forget, ME, status } from "../data/queries";
import { useTheme } from "../data/theme";
import { tellOthers } from "../data/windows";
import { sentence } from "../data/words";
import mark from "../mark.svg";
import { Icon, type IconName } from "./icon";

const PAGES: readonly (readonly [path: string, name: string, icon: IconName, scope: string])[] = [
  ["/", "Sessions", "sessions", "sessions:read"],
  ["/talk", "Talk", "talk", "sessions:write"],
  ["/avatars", "Avatars", "avatars", "avatars:read"],
  ["/webhooks", "Webhooks", "webhooks", "webhooks:read"],
  ["/usage", "Usage", "usage", "account:read"],
  ["/operations", "Operations", "shield", OPERATOR],
];

export function Brand() {
  return (
    <div className="brand">
      <img src={mark} alt="" />
      Greenroom
    </div>
  );
}

export function Shell({ me, children }: { me: Me; children: ReactNode }) {
  const [place] = useLocation();
  const connected = useConnected();
  useTitle(place);
  return (
    <div className="shell">
      <a className="skip" href="#page">
        Skip to the page
      </a>
      <header className="side">
        <Brand />
        <nav className="nav" aria-label="Pages">
          {PAGES.filter((each) => may(me, each[3])).map(([path, name, icon]) => {
            const here = path === "/" ? place === "/" || place.startsWith("/sessions") : place.startsWith(path);
            return (
              <Link key={path} href={path} aria-current={here ? "page" : undefined}>
                <Icon name={icon} />
                {name}
              </Link>
            );
          })}
        </nav>
        <div className="rest">
          <Health />
          <Who me={me} />
        </div>
      </header>
      <main className="main" id="page" tabIndex={-1}>
        <div className="row between only-phone">
          <Brand />
          <div className="row">
            <Buttons />
          </div>
        </div>
        <div className="page">
          {!connected && (
            <div className="notice amber banner" role="status">
              <Icon name="warn" />
              <div>The API does not answer. What you see is as it was; it goes on by itself when it is back.</div>
            </div>
          )}
          {children}
        </div>
      </main>
    </div>
  );
}

function Health() {
  const { data } = useQuery(status);
  if (!data) return null;
  const away = data.components.filter((each) => each.status !== "operational");
  const colour = { operational: "green", degraded: "amber", outage: "red" }[data.status];
  const text = away.length
    ? away.map((each) => `${sentence(each.name)}: ${each.status}`).join(", ")
    : "All systems work";
  return (
    <div className={`badge ${colour}`} role="status">
      {text}
    </div>
  );
}

function Who({ me }: { me: Me }) {
  const { data } = useQuery({ ...account, enabled: may(me, "account:read") });
  return (
    <div className="who">
      <div>
        <div className="name">{data?.name ?? "Account"}</div>
        <div className="small muted">{sentence(me.plan)}</div>
      </div>
      <Buttons />
    </div>
  );
}

function Buttons() {
  const [theme, swap] = useTheme();
  const leave = async () => {
    await ours("POST", "logout").catch(() => undefined);
    forget();
    tellOthers();
    await client.invalidateQueries({ queryKey: ME });
  };
  return (
    <>
      <button
        type="button"
        className="button ghost icon"
        onClick={swap}
        aria-label={theme === "dark" ? "Light colours" : "Dark colours"}
        title={theme === "dark" ? "Light colours" : "Dark colours"}
      >
        <Icon name={theme === "dark" ? "sun" : "moon"} />
      </button>
      <button
        type="button"
        className="button ghost icon"
        onClick={() => void leave()}
        aria-label="Log out"
        title="Log out of this browser"
      >
        <Icon name="leave" />
      </button>
    </>
  );
}

/** Whoever hears the page is told that it is another one, and begins at its top. */
function useTitle(place: string): void {
  const before = useRef(place);
  useEffect(() => {
    const name = PAGES.find(([path]) => path !== "/" && place.startsWith(path))?.[1] ?? "Sessions";
    document.title = `${name} · Greenroom`;
    if (before.current !== place) document.getElementById("page")?.focus();
    before.current = place;
  }, [place]);
}
