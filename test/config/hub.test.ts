/** The settings of the hub: the URL that `wgmon hub enroll` prints, its mistakes, and that it is never shown. */

import { describe, expect, test } from "bun:test";

import { describeSettings } from "../../src/config/config.ts";
import { changedSettings } from "../../src/config/reload.ts";
import { errors, type Given, run } from "../support/settings.ts";

/** Its base64 has a slash and a plus sign. */
const KEY = Buffer.from(Array.from({ length: 30 }, (_, n) => 255 - n * 5)).toString("base64");
const SECRET = `whsec_${KEY}`;
const URL_OF = (host: string, { name = "berlin", scheme = "https", secret = SECRET } = {}) =>
  `${scheme}://${name}:${secret}@${host}`;
const PEM = "-----BEGIN CERTIFICATE-----\nMII\n-----END CERTIFICATE-----\n";

function hubOf(argv: readonly string[], given: Given = {}) {
  return run(["--host", "Berlin", ...argv], given).settings.hub;
}

function mistakes(argv: readonly string[], given: Given = {}): readonly string[] {
  return errors(["--host", "Berlin", ...argv], given);
}

function signature(hub: ReturnType<typeof hubOf>): string {
  if (hub?.type !== "https") throw new Error("not a hub with a secret");
  return hub.secret.sign({ id: "1", timestamp: "1", body: new Uint8Array() });
}

describe("--hub", () => {
  test("the URL has the name of the gateway and its secret, which are not in the settings", () => {
    const hub = hubOf(["--hub", URL_OF("hub.example.net:8443/fleet/")]);
    expect(hub).toMatchObject({
      type: "https",
      url: "https://hub.example.net:8443/fleet",
      gateway: "berlin",
      ca: null,
    });
    expect(JSON.stringify(hub)).not.toContain(KEY);
    expect(hubOf([])).toBeNull();
  });

  test("the secret may be written with escapes, or in base64url", () => {
    const plain = signature(hubOf(["--hub", URL_OF("h.example")]));
    for (const secret of [
      encodeURIComponent(SECRET),
      `whsec_${KEY.replaceAll("+", "-").replaceAll("/", "_")}`,
      KEY,
    ]) {
      expect(signature(hubOf(["--hub", URL_OF("h.example", { secret })]))).toBe(plain);
    }
  });

  test("the file has the URL, or the line that wgmon hub enroll prints; it may be a credential", () => {
    const url = URL_OF("h.example");
    for (const text of [`${url}\n`, `# Berlin\nhub = "${url}"\n`]) {
      expect(hubOf(["--hub-file=/h"], { files: { "/h": text } })).toMatchObject({
        url: "https://h.example",
      });
    }
    const env = { CREDENTIALS_DIRECTORY: "/c" };
    expect(hubOf([], { env, files: { "/c/hub": url } })).toMatchObject({ gateway: "berlin" });
    expect(hubOf([], { env })).toBeNull();
  });

  test("hub-ca is the certificate in a file", () => {
    const argv = ["--hub", URL_OF("h.example"), "--hub-ca=/ca"];
    expect(hubOf(argv, { files: { "/ca": PEM } })).toMatchObject({ ca: PEM });
    expect(mistakes(argv, { files: { "/ca": "x" } })).toEqual([
      "--hub-ca: there is no certificate in PEM in the file",
    ]);
    expect(mistakes(argv)).toEqual(["--hub-ca: there is no such file"]);
    expect(run(["--hub-ca=/ca"], { files: { "/ca": PEM } }).warnings).toEqual([
      "--hub-ca has no effect without hub",
    ]);
  });

  test("without TLS, only a hub on this machine is accepted", () => {
    for (const host of ["127.0.0.1:1", "localhost", "[::1]:8080"]) {
      expect(hubOf(["--hub", URL_OF(host, { scheme: "http" })])).not.toBeNull();
    }
    expect(mistakes(["--hub", URL_OF("h.example", { scheme: "http" })])).toEqual([
      "--hub: use https://, so that others cannot read or change what is sent",
    ]);
  });

  test.each([
    ["https://hub.example.net", "--hub: (hidden) is not the URL that wgmon hub enroll prints"],
    [`https://berlin@h.example`, "--hub: (hidden) is not the URL that wgmon hub enroll prints"],
    [URL_OF("h.example?a=b"), "--hub: (hidden) is not the URL that wgmon hub enroll prints"],
    [URL_OF("h.example").replace("https", "ftp"), /is not the URL/],
    [
      URL_OF("h.example", { secret: "pl4nted" }),
      "--hub: the password is not a secret that wgmon hub enroll printed",
    ],
    [
      URL_OF("h.example", { name: "paris" }),
      '--hub: the user name in the URL is "paris", but this gateway is "berlin"; set host to paris, or on the hub: wgmon hub enroll berlin',
    ],
    [URL_OF("h.example", { name: "pl4nted_X" }), /user name in the URL is \(hidden\)/],
  ])("a wrong URL is refused with a remedy, and not shown: %#", (url, message) => {
    const found = mistakes(["--hub", url]);
    expect(found).toHaveLength(1);
    if (typeof message === "string") expect(found).toEqual([message]);
    else expect(found[0]).toMatch(message);
    expect(found.join()).not.toMatch(/pl4nted|whsec/);
  });

  test("mistakes in the file, and two hubs, are refused", () => {
    const argv = ["--hub-file=/h"];
    expect(mistakes(argv, { files: { "/h": "" } })).toEqual([
      "--hub-file: the file has 0 lines instead of one with the URL",
    ]);
    expect(mistakes(argv, { files: { "/h": "pl4nted" } })).toEqual([
      "--hub-file: (hidden) is not the URL that wgmon hub enroll prints",
    ]);
    const both = [...argv, "--hub", URL_OF("h.example")];
    expect(mistakes(both, { files: { "/h": "" } })).toEqual([
      "hub and hub-file: give only one of them",
    ]);
  });

  test("the log shows the address and the name, and a new secret is a change", () => {
    const settings = (secret: string) =>
      run(["--host", "berlin", "--hub", URL_OF("h.example/x", { secret })]).settings;
    expect(describeSettings(settings(SECRET), "berlin")).toMatchObject({
      hub: "https://h.example/... as berlin",
    });
    const other = `whsec_${"B".repeat(40)}`;
    expect(changedSettings(settings(SECRET), settings(SECRET))).toEqual([]);
    expect(changedSettings(settings(SECRET), settings(other))).toEqual(["hub"]);
  });
});
