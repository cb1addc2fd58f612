/** Pushover: the requests, the URLs and their parameters, and the answers. */

import { expect, test } from "bun:test";

import { pushover } from "../../../src/channels/formats/pushover.ts";
import type { Event, Severity } from "../../../src/events/event-schema.ts";
import { anEvent, messageOf } from "../../support/events.ts";
import { drop, testFormat } from "../../support/format-suite.ts";

const SEND = "https://api.pushover.net/1/messages.json";

testFormat("pushover", {
  url: `${SEND}?token=s3cret&user=u1&priority=1&sound=bike`,
  isRecognised: true,
  notRecognised: ["https://api.pushover.net/1/users/validate.json"],
  checkedUrls: [
    [
      `${SEND}?user=s3cret`,
      "has no token: write .../1/messages.json?token=...&user=..., in quotes",
    ],
    [
      `${SEND}?token=s3cret`,
      "has no user: write .../1/messages.json?token=...&user=..., in quotes",
    ],
    [`${SEND}?token=s3cret&user=u&priority=high`, "has a priority that is not -2, -1, 0, 1 or 2"],
    [
      `${SEND}?token=s3cret&user=u&priority=2&retry=60`,
      "has priority 2 without retry and expire, which Pushover requires: add for example retry=60&expire=3600",
    ],
    [
      `${SEND}?token=s3cret&user=u&message=s3cret`,
      "has an unknown parameter; known are token, user, device, priority, sound, ttl, retry and expire",
    ],
  ],
  expectRequests(requests) {
    expect(requests).toMatchInlineSnapshot(`
      {
        "alert.firing": "title=WireGuard+on+gw1&message=critical%3A+alice+%28wg0%29+is+down%3A+no+data+for+5m%3B+check+the+peer+and+its+network+%28rule+offices%29&timestamp=1795364344&token=s3cret&user=u1&priority=1&sound=bike",
        "alert.resolved": "title=WireGuard+on+gw1&message=resolved%3A+alice+%28wg0%29+is+back+after+5m+%28rule+offices%29&timestamp=1795364344&token=s3cret&user=u1&priority=1&sound=bike",
        "alerts": "title=WireGuard+on+gw1&message=alice+%28wg0%29+connected+from+198.51.100.7%3A40001%0Ainfo%3A+alice+%28wg0%29+is+down%3A+no+data+for+5m%3B+check+the+peer+and+its+network+%28rule+phones%29%0Awarning%3A+2+alerts+of+rule+offices%3A+bob+%26+co+%28wg0%29+is+down%3A+no+data+for+5m%3B+check+the+peer+and+its+network%3B+carol+%28wg0%29+is+down%3A+no+data+for+5m%3B+check+the+peer+and+its+network%0Aresolved%3A+alice+%28wg0%29+is+back+after+5m+%28rule+offices%29&timestamp=1795364344&token=s3cret&user=u1&priority=1&sound=bike",
        "device.added": "title=WireGuard+on+gw1&message=wg0+added%2C+listening+on+port+51820&timestamp=1795364344&token=s3cret&user=u1&priority=1&sound=bike",
        "device.removed": "title=WireGuard+on+gw1&message=wg0+removed&timestamp=1795364344&token=s3cret&user=u1&priority=1&sound=bike",
        "handshake.unknown": "title=WireGuard+on+gw1&message=wg0%3A+3+handshakes+from+198.51.100.0%2F24+that+no+peer+completed%3B+they+know+wg0%27s+public+key+%28wrong+preshared+key%2C+or+a+peer+that+was+removed%3F%29&timestamp=1795364344&token=s3cret&user=u1&priority=1&sound=bike",
        "peer.connected": "title=WireGuard+on+gw1&message=alice+%28wg0%29+connected+from+198.51.100.7%3A40001&timestamp=1795364344&token=s3cret&user=u1&priority=1&sound=bike",
        "peer.disconnected": "title=WireGuard+on+gw1&message=alice+%28wg0%29+disconnected+after+4s&timestamp=1795364344&token=s3cret&user=u1&priority=1&sound=bike",
        "peer.roamed": "title=WireGuard+on+gw1&message=alice+%28wg0%29+roamed+from+192.0.2.1%3A51820+to+198.51.100.7%3A40001&timestamp=1795364344&token=s3cret&user=u1&priority=1&sound=bike",
        "several": "title=WireGuard+on+gw1&message=alice+%28wg0%29+connected+from+198.51.100.7%3A40001%0Abob+%26+co+%28wg0%29+connected+from+198.51.100.7%3A40001+already+when+wgmon+started%0Aalice+%28wg_1%29+disconnected+after+4s&timestamp=1795364344&token=s3cret&user=u1&priority=1&sound=bike",
        "to": "https://api.pushover.net/1/messages.json",
        "with": [
          "application/x-www-form-urlencoded",
        ],
      }
    `);
  },
  text: {
    read(body) {
      const form = new URLSearchParams(body);
      expect([...form.keys()].toSorted()).toEqual(
        ["message", "priority", "sound", "timestamp", "title", "token", "user"].toSorted(),
      );
      return { title: form.get("title")!, lines: form.get("message")!.split("\n") };
    },
    linesMax: 1024,
    titleMax: 250,
  },
  responses: [
    [
      400,
      '{"token":"invalid","errors":["application token is invalid"],"status":0}',
      drop("400: Pushover does not know this application token"),
    ],
    [
      400,
      '{"user":"invalid","errors":["..."],"status":0}',
      drop("400: Pushover does not know this user or group key"),
    ],
    [400, '{"status":0}', null],
    [429, '{"status":0}', null],
  ],
  refusals: [
    [
      {
        message: "cannot be blank",
        errors: ["message cannot be blank"],
        status: 0,
        request: "e460545a8b333d0da2f3602aff3133d6",
      },
      "message cannot be blank",
    ],
  ],
});

test("a critical alert has a high priority in Pushover, and is repeated if the URL says how, unless the URL has a priority", () => {
  const priorityOf = (event: Event, query = ""): string | null => {
    const url = new URL(`${SEND}?token=s3cret&user=u1${query}`);
    expect(pushover.validateUrl!(url)).toBeNull();
    return new URLSearchParams(pushover.request(messageOf(event), url).body).get("priority");
  };
  const firing = (severity: Severity) => anEvent("alert.firing", { alert: { severity } });
  expect(priorityOf(firing("critical"))).toBe("1");
  expect(priorityOf(firing("critical"), "&retry=60&expire=3600")).toBe("2");
  expect(priorityOf(firing("critical"), "&retry=60")).toBe("1");
  expect(priorityOf(firing("critical"), "&priority=-1")).toBe("-1");
  expect(priorityOf(firing("warning"))).toBeNull();
  expect(priorityOf(anEvent("alert.resolved"), "&retry=60&expire=3600")).toBeNull();
});
