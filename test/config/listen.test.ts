/** The address that wgmon listens on, and that other machines need a token. */

import { describe, expect, test } from "bun:test";

import { describeSettings } from "../../src/config/config.ts";
import { errors, type Given, run } from "../support/settings.ts";

const TOKEN = "correct-horse-battery-staple";
const FILE = "/etc/wgmon/listen-token";
const withFile = (text: string): Given => ({ files: { [FILE]: text } });

describe("a listen address", () => {
  test.each(["127.0.0.1:9587", "127.8.9.1:1", "[::1]:9587", "localhost:80"])(
    "the listen address %s is local, and needs no token",
    (address) => {
      const { settings, warnings } = run(["--listen", address]);
      expect(settings).toMatchObject({ listenTokens: [], listenTls: null });
      expect(warnings).toEqual([]);
      expect(describeSettings(settings, "gw1")["listen"]).toBe(address);
    },
  );

  test.each([
    "0.0.0.0:9587",
    "[::]:9587",
    "192.0.2.1:9587",
    "gw1.example.net:9587",
    "127.example:9",
  ])("the listen address %s is not local, and needs a token", (address) => {
    const argv = ["--listen", address];
    expect(errors(argv)).toEqual([
      "--listen: other machines can connect to this address, so a token is required: give listen-token-file, or listen on 127.0.0.1",
    ]);
    const more = [...argv, "--listen-token-file", FILE];
    const { settings, warnings } = run(more, withFile(`# for Prometheus\n${TOKEN}\n\n${TOKEN}2\n`));
    expect(settings.listenTokens).toEqual([TOKEN, `${TOKEN}2`]);
    expect(warnings).toEqual(["listen: without TLS, others on the network can read the token"]);
    expect(JSON.stringify(describeSettings(settings, "gw1"))).not.toContain(TOKEN);
    expect(describeSettings(settings, "gw1")["listen"]).toBe(`${address} (2 tokens)`);
  });

  test.each(["9587", "127.0.0.1", ":9587", "::1:9587", "127.0.0.1:0", "127.0.0.1:65536", "a b:1"])(
    "the listen address %s is invalid",
    (address) => {
      expect(errors([`--listen=${address}`])).toHaveLength(1);
    },
  );
});

describe("the token of a listen address", () => {
  const argv = ["--listen", "0.0.0.0:9587", "--listen-token-file", FILE];

  test("a token that is too short or invalid in a header is refused and not shown", () => {
    for (const text of [
      "too-short",
      "has a space in it, which is wrong",
      "schön-lang-genug-für-alle",
    ]) {
      const found = errors(argv, withFile(`${text}\n`));
      expect(found).toHaveLength(1);
      expect(found[0]).toStartWith("--listen-token-file: a token in the file is shorter than 16");
      expect(found[0]).not.toContain(text);
    }
  });

  test("a token must be in the file", () => {
    expect(errors(argv, withFile("# none\n"))).toEqual([
      "--listen-token-file: there is no token in the file",
    ]);
    expect(errors(argv)).toEqual(["--listen-token-file: there is no such file"]);
  });

  test("a token can be a credential of systemd", () => {
    const given: Given = {
      env: { CREDENTIALS_DIRECTORY: "/run/credentials/wgmon" },
      files: { "/run/credentials/wgmon/listen-token": TOKEN },
    };
    expect(run(["--listen", "0.0.0.0:9587"], given).settings.listenTokens).toEqual([TOKEN]);
    const none: Given = { env: { CREDENTIALS_DIRECTORY: "/run/credentials/wgmon" } };
    expect(errors(["--listen", "0.0.0.0:9587"], none)).toHaveLength(1);
  });
});

test("TLS needs both a certificate and a key", () => {
  const listen = ["--listen", "127.0.0.1:9587"];
  const cert = ["--listen-tls-cert", "/c.pem"];
  expect(errors([...listen, ...cert])).toEqual([
    "listen-tls-cert and listen-tls-key: give both, or neither for no TLS",
  ]);
  const { settings } = run([...listen, ...cert, "--listen-tls-key", "/k.pem"]);
  expect(settings.listenTls).toEqual({ cert: "/c.pem", key: "/k.pem" });
  expect(describeSettings(settings, "gw1")["listen"]).toBe("127.0.0.1:9587 (TLS)");
});

test("a token file without a listen address causes a warning", () => {
  const { warnings } = run(["--listen-token-file", FILE], withFile(TOKEN));
  expect(warnings).toEqual(["--listen-token-file has no effect without listen"]);
});
