/** The form body, compared with the output of Go's url.Values{"content": ...}.Encode(). */

import { expect, test } from "bun:test";

import type { Endpoint, Peer, PublicKey } from "../../../src/base/wireguard.ts";
import { form } from "../../../src/channels/formats/form.ts";
import type { Event } from "../../../src/events/event-schema.ts";
import { eventOf } from "../../../src/events/event.ts";
import { type Change } from "../../../src/sessions/change.ts";
import { testFormat } from "../../support/format-suite.ts";

const KEY = "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZq/+Dg=" as PublicKey;
const session = { startedAtMs: 0, rxBytes: 0, txBytes: 0, roams: 0 };
const v4: Endpoint = { address: "198.51.100.7", port: 51820, scopeId: 0 };
const v6: Endpoint = { address: "2001:db8::1", port: 51820, scopeId: 0 };

function peer(endpoint: Endpoint | null): Peer {
  return {
    publicKey: KEY,
    endpoint,
    allowedIps: ["10.0.0.2/32"],
    lastHandshakeMs: 0,
    rxBytes: 0,
    txBytes: 0,
    persistentKeepaliveSeconds: 0,
  };
}

function encode(change: Change, name: string | null = null): string {
  return encodeAll([change], name);
}

function encodeAll(changes: readonly Change[], name: string | null = null): string {
  const stamp = { id: `evt_${"0".repeat(32)}`, host: "gw1", name };
  const events = changes.map((change) => eventOf(change, stamp)) as [Event, ...Event[]];
  const url = new URL("https://old.example.net/notify");
  const request = form.request({ id: stamp.id, events }, url);
  expect(request.contentType).toBe("application/x-www-form-urlencoded");
  expect(request.url).toBe(url.href);
  return request.body;
}

function connected(device: string, endpoint: Endpoint | null): Change {
  return {
    type: "peer.connected",
    atMs: 0,
    device,
    peer: peer(endpoint),
    session,
    initial: false,
  };
}

function disconnected(device: string, endpoint: Endpoint | null): Change {
  return {
    type: "peer.disconnected",
    atMs: 0,
    device,
    peer: peer(endpoint),
    session,
    endedAtMs: 65_000,
    durationMs: 65_000,
    reason: "idle",
  };
}

testFormat("form", {
  url: "https://old.example.net/notify",
  isRecognised: false,
  notRecognised: [],
  checkedUrls: [],
  expectRequests(requests) {
    expect(requests).toMatchInlineSnapshot(`
      {
        "alert.firing": "content=critical%3A+alice+%28wg0%29+is+down%3A+no+data+for+5m%3B+check+the+peer+and+its+network+%28rule+offices%29",
        "alert.resolved": "content=resolved%3A+alice+%28wg0%29+is+back+after+5m+%28rule+offices%29",
        "alerts": "content=Connection+wg0%3AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAI%3D+on+endpoint+198.51.100.7%3A40001+is+opened%0Ainfo%3A+alice+%28wg0%29+is+down%3A+no+data+for+5m%3B+check+the+peer+and+its+network+%28rule+phones%29%0Awarning%3A+2+alerts+of+rule+offices%3A+bob+%26+co+%28wg0%29+is+down%3A+no+data+for+5m%3B+check+the+peer+and+its+network%3B+carol+%28wg0%29+is+down%3A+no+data+for+5m%3B+check+the+peer+and+its+network%0Aresolved%3A+alice+%28wg0%29+is+back+after+5m+%28rule+offices%29",
        "device.added": "content=wg0+added%2C+listening+on+port+51820",
        "device.removed": "content=wg0+removed",
        "handshake.unknown": "content=wg0%3A+3+handshakes+from+198.51.100.0%2F24+that+no+peer+completed%3B+they+know+wg0%27s+public+key+%28wrong+preshared+key%2C+or+a+peer+that+was+removed%3F%29",
        "peer.connected": "content=Connection+wg0%3AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAI%3D+on+endpoint+198.51.100.7%3A40001+is+opened",
        "peer.disconnected": "content=Connection+wg0%3AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAI%3D+on+endpoint+198.51.100.7%3A40001+is+closed",
        "peer.roamed": "content=alice+%28wg0%29+roamed+from+192.0.2.1%3A51820+to+198.51.100.7%3A40001",
        "several": "content=Connection+wg0%3AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAI%3D+on+endpoint+198.51.100.7%3A40001+is+opened%0AConnection+wg0%3AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAI%3D+on+endpoint+198.51.100.7%3A40001+is+opened%0AConnection+wg_1%3AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAI%3D+on+endpoint+198.51.100.7%3A40001+is+closed",
        "to": "https://old.example.net/notify",
        "with": [
          "application/x-www-form-urlencoded",
        ],
      }
    `);
  },
  text: {
    read: (body) => ({ lines: new URLSearchParams(body).get("content")!.split("\n") }),
    linesMax: 2000,
    forbidden: /^(?!Connection ).*(@(everyone|here)|<[@!#])/i,
  },
  responses: [],
  refusals: [
    ["404 page not found\n", "404 page not found"],
    // A form is often sent to Discord.
    [{ message: "Cannot send an empty message", code: 50006 }, "Cannot send an empty message"],
  ],
});

test("the messages of the form for connected and disconnected are the Go program's, byte for byte", () => {
  expect(encode(connected("wg0", v4))).toBe(
    "content=Connection+wg0%3AxTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZq%2F%2BDg%3D+on+endpoint+198.51.100.7%3A51820+is+opened",
  );
  expect(encode(disconnected("wg0", v4))).toBe(
    "content=Connection+wg0%3AxTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZq%2F%2BDg%3D+on+endpoint+198.51.100.7%3A51820+is+closed",
  );
});

test("in the form, an IPv6 endpoint keeps its brackets, and a missing one is Go's <nil>", () => {
  expect(encode(connected("wg0", v6))).toEndWith(
    "+on+endpoint+%5B2001%3Adb8%3A%3A1%5D%3A51820+is+opened",
  );
  expect(encode(disconnected("wg0", null))).toEndWith("+on+endpoint+%3Cnil%3E+is+closed");
});

test("in the form, only letters, digits and -_.~ stay as they are, as in Go", () => {
  // Every printable ASCII character, and a character of two and one of four bytes. The @ is within an address, where it
  // is not a mention.
  const ascii = Array.from({ length: 95 }, (_, i) => String.fromCharCode(32 + i)).join("");
  const device = `x${ascii.replace("@", "")}a@Aé😀`;
  const removed: Change = { type: "device.removed", atMs: 0, device, listenPort: 0 };
  expect(encode(removed)).toBe(
    "content=x+%21%22%23%24%25%26%27%28%29%2A%2B%2C-.%2F0123456789%3A%3B%3C%3D%3E%3F" +
      "ABCDEFGHIJKLMNOPQRSTUVWXYZ%5B%5C%5D%5E_%60abcdefghijklmnopqrstuvwxyz%7B%7C%7D~" +
      "a%40A%C3%A9%F0%9F%98%80+removed",
  );
});

test("in the form, a literal %20 is escaped, and a lone surrogate is replaced", () => {
  const removed = (device: string): Change => ({
    type: "device.removed",
    atMs: 0,
    device,
    listenPort: 0,
  });
  expect(encode(removed("%20\ud800"))).toBe("content=%2520%EF%BF%BD+removed");
});

test("in the form, an event that the Go program does not have is a sentence of wgmon", () => {
  const roamed: Change = {
    type: "peer.roamed",
    atMs: 0,
    device: "wg0",
    peer: peer(v6),
    session,
    previousEndpoint: v4,
  };
  expect(encode(roamed, "alice")).toBe(
    "content=alice+%28wg0%29+roamed+from+198.51.100.7%3A51820+to+%5B2001%3Adb8%3A%3A1%5D%3A51820",
  );
});

test("in the form, several events are several lines of the one field", () => {
  expect(encodeAll([connected("wg0", v4), disconnected("wg0", null)])).toBe(
    "content=Connection+wg0%3AxTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZq%2F%2BDg%3D+on+endpoint+198.51.100.7%3A51820+is+opened" +
      "%0AConnection+wg0%3AxTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZq%2F%2BDg%3D+on+endpoint+%3Cnil%3E+is+closed",
  );
});

test("a name with @everyone is not a mention if Discord receives the form", () => {
  const removed: Change = { type: "device.removed", atMs: 0, device: "@everyone", listenPort: 0 };
  expect(encode(removed)).toBe("content=%40%E2%80%8Beveryone+removed");
});
