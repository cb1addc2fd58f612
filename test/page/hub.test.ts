/** The page of a hub: its gateways, and their peers, sessions and events. A gateway's page has no such parts. */

import { afterEach, beforeEach, describe, expect, test } from "bun:test";

import { urlKey } from "../../src/base/wireguard.ts";
import { LoginSessions } from "../../src/http/login.ts";
import type { Page } from "../../src/http/server.ts";
import { makePage } from "../../src/page/page.tsx";
import { hub, peerKey } from "../support/sample-fleet.ts";
import { office } from "../support/sample-gateway.ts";
import { FakeSource, TRUSTED_CLIENT } from "../support/source.ts";

let source: FakeSource;
let page: Page;
const logged: unknown[] = [];

function setUp(made: FakeSource): void {
  source = made;
  const record = (...args: unknown[]) => void logged.push(args);
  const logins = new LoginSessions({ clock: source.clock, log: { warn: record } });
  const options = { actions: null, alertActions: source.alerts, logins };
  page = makePage({ source, ...options, log: { error: record } });
}

afterEach(() => {
  page[Symbol.dispose]();
  source.store[Symbol.dispose]();
  expect(logged).toEqual([]);
});

async function ask(path: string): Promise<Response> {
  const headers = { accept: "text/html" };
  return await page.handle(new Request(`http://localhost${path}`, { headers }), TRUSTED_CLIENT);
}

/** The texts of the elements that a selector finds, each with single spaces. */
async function texts(path: string, selector: string): Promise<string[]> {
  const answer = await ask(path);
  expect([path, answer.status]).toEqual([path, 200]);
  const found: string[] = [];
  const rewriter = new HTMLRewriter().on(selector, {
    element: () => void found.push(""),
    text: ({ text }) => void (found[found.length - 1] += text),
  });
  rewriter.transform(await answer.text());
  return found.map((text) => text.replaceAll("&nbsp;", " ").replaceAll(/\s+/g, " ").trim());
}

describe("a hub", () => {
  beforeEach(async () => setUp(await hub()));

  test("the overview shows the gateways as tiles, those that need attention first", async () => {
    expect(await texts("/", "#gateways h3")).toEqual([
      "lyon",
      "nairobi",
      "kyoto",
      "berlin",
      "oslo",
    ]);
    const [lyon, nairobi, , berlin, oslo] = await texts("/", "#gateways li");
    expect(lyon).toStartWith("lyonlost 3m4 peers, state unknown");
    expect(nairobi).toBe("nairobiwaiting It has not reported yet.");
    expect(berlin).toStartWith("berlinup 1h 35m8 of 12 peers");
    expect(berlin).toEndWith("/s to peers");
    expect(oslo).toContain("120 events behind, clock 3s ahead");
    expect(await texts("/", "title")).toEqual(["11 of 24 peers connected, 2 alerts · gw1 · wgmon"]);
    expect((await texts("/", "#tiles .sub"))[0]).toBe("3 disconnected, 3 never, 7 unknown");
  });

  test("all pages can be filtered by gateway, also without scripts", async () => {
    for (const path of ["/", "/events", "/sessions", "/alerts"]) {
      const options = await texts(`${path}?host=oslo`, "select[name=host] option");
      expect(options).toEqual(["all", "berlin", "kyoto", "lyon", "nairobi", "oslo"]);
      const chosen = await texts(`${path}?host=oslo`, "select[name=host] option[selected]");
      expect(chosen).toEqual(["oslo"]);
    }
    expect(await texts("/?host=oslo", "#peers tr")).toHaveLength(5);
    expect(await texts("/?host=berlin&device=berlin/wg1", "#peers tr")).toHaveLength(6);
    expect(await texts("/events?host=oslo", "#events li")).toHaveLength(3);
    expect(await texts("/sessions?host=lyon", "#sessions tr")).toHaveLength(2);
    expect(await texts("/alerts?host=lyon", "#past-list li")).toHaveLength(1);
    expect(await texts("/events?host=berlin", "select[name=device] option")).toEqual([
      "all",
      "berlin/wg0",
      "berlin/wg1",
    ]);
  });

  test("the page of a gateway shows its condition, its peers, its events and its devices", async () => {
    expect(await texts("/gateways/oslo", "h1")).toEqual(["oslo"]);
    expect(await texts("/gateways/oslo", "#state")).toEqual(["up for 1h 35m"]);
    expect(await texts("/gateways/oslo", "#problem")).toEqual([""]);
    const tiles = await texts("/gateways/oslo", "#tiles .tile");
    expect(tiles[0]).toStartWith("Connected3 of 5 peers");
    expect(tiles[2]).toStartWith("Events not here yet120");
    expect(tiles[3]).toStartWith("Clock3s ahead");
    expect(await texts("/gateways/oslo", "#peers tr")).toHaveLength(5);
    expect((await texts("/gateways/oslo", "#events li"))[0]).toStartWith(
      "alice oslo (oslo/wg0) connected from",
    );
    expect((await texts("/gateways/oslo", "#devices tr"))[0]).toContain("3 of 5");
    expect(await texts("/gateways/berlin", "#devices th")).toEqual(["berlin/wg0", "berlin/wg1"]);
    expect(await texts("/gateways/oslo?state=connected&sort=name", "#peers tr")).toHaveLength(3);
    const links = await (await ask("/gateways/oslo?state=connected")).text();
    expect(links).toContain('href="/gateways/oslo?state=connected&amp;sort=name"');
    expect((await ask("/gateways/rome")).status).toBe(404);
    expect(await texts("/gateways", "#gateways li")).toHaveLength(5);
  });

  test("the peers of a lost gateway are unknown, and never disconnected", async () => {
    const [problem] = await texts("/gateways/lyon", "#problem");
    expect(problem).toBe(
      "The last message of this gateway came 4m ago. Until it reports again, the state of its peers is unknown.",
    );
    const states = await texts("/?host=lyon", "#peers .state");
    expect(states).toEqual(["unknown", "unknown", "unknown", "unknown"]);
    expect(await texts("/sessions?host=lyon", "#sessions .state")).toContain("unknown");
    expect(await texts("/?state=disconnected&host=lyon", "#peers tr")).toEqual([]);
    expect(await texts("/?state=unknown", "#peers tr")).toHaveLength(7);
    const path = `/peers/lyon%2Fwg0/${urlKey(peerKey("lyon", 0))}`;
    expect(await texts(path, "#state")).toEqual(["unknownstaff"]);
    expect(await texts(path, "#facts a")).toEqual(["lyon/wg0"]);
    const [nairobi] = await texts("/gateways/nairobi", "#problem");
    expect(nairobi).toBe("This gateway has not reported yet.");
    expect(await texts("/gateways/nairobi", "#found")).toEqual([
      "The gateway has not reported a WireGuard device yet.",
    ]);
  });

  test("the history of a peer ends where its gateway was last heard", async () => {
    const lengthOf = async (gateway: string) => {
      const path = `/peers/${gateway}%2Fwg0/${urlKey(peerKey(gateway, 0))}`;
      return /connected for (\w+);/.exec(await (await ask(path)).text())?.[1];
    };
    expect(await lengthOf("lyon")).toBe("16m");
    expect(await lengthOf("oslo")).toBe("20m");
  });

  test("an event of a gateway leads to its peer", async () => {
    const markup = await (await ask("/events?host=oslo")).text();
    expect(markup).toContain(`href="/peers/oslo%2Fwg0/${urlKey(peerKey("oslo", 0))}"`);
    expect(markup).toContain("/v1/events/download?format=csv&amp;host=oslo");
  });
});

test("a gateway has no page of gateways, no link to it, and no filter by gateway", async () => {
  setUp(await office());
  expect((await ask("/gateways")).status).toBe(404);
  expect((await ask("/gateways/gw1")).status).toBe(404);
  const links = await texts("/", "nav[aria-label=Pages] a");
  expect(links).toEqual(["Overview", "Alerts", "Sessions", "Events", "Outbox"]);
  for (const path of ["/", "/events", "/sessions", "/alerts"]) {
    const markup = await (await ask(`${path}?host=berlin`)).text();
    expect(markup).not.toContain('name="host"');
    expect(markup).not.toContain(">unknown</option>");
  }
  expect(await texts("/?host=berlin", "#peers tr")).toHaveLength(9);
});
