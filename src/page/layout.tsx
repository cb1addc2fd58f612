/** The layout of all pages: head, navigation and footer. */

import { raw } from "hono/html";

import type { ReadModel } from "../http/read-model.ts";
import type { Assets } from "./assets.ts";
import { Age, Name } from "./components.tsx";
import type { PageSnapshot } from "./page-diff.ts";

export const themes = ["auto", "light", "dark"] as const;
export type Theme = (typeof themes)[number];

const navigation = {
  "/": "Overview",
  "/gateways": "Gateways",
  "/alerts": "Alerts",
  "/sessions": "Sessions",
  "/events": "Events",
  "/outbox": "Outbox",
} as const;
export type NavigationPath = keyof typeof navigation;

export interface LayoutProps {
  readonly source: ReadModel;
  readonly assets: Assets;
  readonly snapshot: PageSnapshot;
  readonly title: string;
  /** The page's path in the navigation; null if the navigation has no link to the page. */
  readonly path: NavigationPath | null;
  readonly theme: Theme;
  /** Path and query of the page; forms return to it. */
  readonly address: string;
  /** The client is not authenticated: the page shows nothing about this machine. */
  readonly isAnonymous: boolean;
  /** The client has a login, and can log out. */
  readonly isLoggedIn: boolean;
  /** Whether the page updates itself while it is open. */
  readonly isLive: boolean;
  readonly hasChart: boolean;
}

/** A peer at the mouth of a tunnel; icon.svg is the same drawing for the browser's tab. */
export function Logo() {
  return (
    <svg class="logo" viewBox="0 0 32 32" aria-hidden="true">
      <path d="M22 5.6A12 12 0 1 0 26.4 10" stroke-width="3.2" />
      <path d="M19.2 11.6A5.6 5.6 0 1 0 20.4 12.8" stroke-width="2.8" />
      <circle cx="25.4" cy="6.6" r="4" />
    </svg>
  );
}

export function Layout({ children, ...props }: LayoutProps & { children: unknown }) {
  const { source, assets, snapshot, title, path, theme, address } = props;
  const { isAnonymous, isLoggedIn, isLive, hasChart } = props;
  return (
    <>
      {raw("<!doctype html>")}
      <html lang="en" data-theme={theme}>
        <head>
          <meta charset="utf-8" />
          <meta name="viewport" content="width=device-width, initial-scale=1" />
          <meta name="color-scheme" content="light dark" />
          <meta name="robots" content="noindex" />
          <title>{title}</title>
          <link rel="icon" type="image/svg+xml" href={assets.icon.path} />
          <link rel="stylesheet" href={assets.style.path} />
          {isLive ? <script type="module" src={assets.script.path}></script> : null}
          {hasChart ? <script type="module" src={assets.chartScript.path}></script> : null}
        </head>
        <body data-now={snapshot.nowMs} data-build={assets.build}>
          <a class="skip" href="#main">
            Skip to the content
          </a>
          <header>
            <div class="bar">
              <div class="brand">
                <a href="/">
                  <Logo />
                  wgmon
                </a>
                {isAnonymous ? null : (
                  <span class="host">
                    <Name text={source.host()} />
                  </span>
                )}
              </div>
              {isAnonymous ? null : (
                <nav aria-label="Pages">
                  <ul>
                    {Object.entries(navigation).map(([each, name]) =>
                      each === "/gateways" && source.fleet === null ? null : (
                        <li>
                          <a href={each} aria-current={each === path ? "page" : null}>
                            {name}
                          </a>
                        </li>
                      ),
                    )}
                  </ul>
                </nav>
              )}
              <p id="live" role="status"></p>
              {isLoggedIn ? (
                <form method="post" action="/logout">
                  <button>Log out</button>
                </form>
              ) : null}
            </div>
          </header>
          <main id="main" tabindex={-1}>
            {children as string}
          </main>
          <footer>
            <div class="bar">
              {isAnonymous ? null : (
                <p>
                  wgmon {source.version}, running for{" "}
                  <Age ms={source.startedAtMs} snapshot={snapshot} as="for" />.{" "}
                  <span id="zone">Times are in UTC.</span>
                </p>
              )}
              <form method="post" action="/theme">
                <fieldset>
                  <legend>Colours</legend>
                  <input type="hidden" name="next" value={address} />
                  <span class="choice">
                    {themes.map((each) => (
                      <button name="theme" value={each} aria-pressed={String(each === theme)}>
                        {each}
                      </button>
                    ))}
                  </span>
                </fieldset>
              </form>
            </div>
          </footer>
        </body>
      </html>
    </>
  );
}
