/** The settings of NATS: servers, user and password or a credentials file, and the authority. */

import { describe, expect, test } from "bun:test";

import { describeSettings } from "../../src/config/config.ts";
import { errors as errorsOf, type Given, parse, run as runGateway } from "../support/settings.ts";

const URL = "nats://wgmon_hub:s3cret@nats.example.net";
const FILE = "/etc/wgmon/nats";
const CREDENTIALS = "-----BEGIN NATS USER JWT-----\nx\n------END NATS USER JWT------\n";
const CA = "-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----\n";
const LOGIN = {
  servers: ["nats.example.net:4222"],
  user: "wgmon_hub",
  password: "s3cret",
  isTls: true,
  credentials: null,
  ca: null,
} as const;

function run(argv: readonly string[], given: Given = {}) {
  const command = parse(["hub", ...argv], given);
  if (command.type !== "hub") throw new Error(`expected the command hub, got ${command.type}`);
  return command;
}

function errors(argv: readonly string[], given: Given = {}): readonly string[] {
  return errorsOf(["hub", ...argv], given);
}

describe("the settings of NATS on a hub", () => {
  test("the address is a flag, a file or a credential of systemd", () => {
    expect(run(["--nats", URL]).settings.nats).toEqual(LOGIN);
    const withFile: Given = { files: { [FILE]: `# of the fleet\n${URL}\n` } };
    expect(run(["--nats-file", FILE], withFile).settings.nats).toEqual(LOGIN);
    const credential: Given = {
      env: { CREDENTIALS_DIRECTORY: "/run/credentials/wgmon" },
      files: { "/run/credentials/wgmon/nats": `nats = "${URL}"` },
    };
    expect(run([], credential).settings.nats).toEqual(LOGIN);
    expect(run([]).settings.nats).toBeNull();
  });

  test("a credentials file replaces user and password", () => {
    const given: Given = { files: { "/etc/wgmon/hub.creds": CREDENTIALS } };
    const argv = ["--nats-credentials", "/etc/wgmon/hub.creds"];
    const address = "nats://nats.example.net";
    expect(run([...argv, "--nats", address], given).settings.nats).toEqual({
      ...LOGIN,
      user: null,
      password: null,
      credentials: CREDENTIALS,
    });
    expect(errors([...argv, "--nats", URL], given)).toEqual([
      "--nats: has a user; with nats-credentials, leave it out",
    ]);
    expect(errors(["--nats", address])).toEqual([
      "--nats: has no user and password; give them, or nats-credentials",
    ]);
    expect(
      errors([...argv, "--nats", address], { files: { "/etc/wgmon/hub.creds": "x" } }),
    ).toEqual(["--nats-credentials: the file has no credentials"]);
  });

  test("an authority makes TLS necessary, also on this machine", () => {
    const argv = ["--nats", "nats://wgmon_hub:s3cret@localhost"];
    expect(run(argv).settings.nats).toMatchObject({ isTls: false });
    const withCa = [...argv, "--nats-ca", "/etc/wgmon/nats-ca.pem"];
    const given: Given = { files: { "/etc/wgmon/nats-ca.pem": CA } };
    expect(run(withCa, given).settings.nats).toMatchObject({ isTls: true, ca: CA });
    expect(errors(withCa, { files: { "/etc/wgmon/nats-ca.pem": "x" } })).toEqual([
      "--nats-ca: the file has no certificate in PEM",
    ]);
    expect(errors(withCa)).toEqual(["--nats-ca: there is no such file"]);
  });

  test("no secret is in errors, warnings or the log", () => {
    const { settings, warnings } = run(["--nats", URL]);
    const described = describeSettings(settings, "gw1");
    expect(described["nats"]).toBe("tls://nats.example.net:4222");
    expect(JSON.stringify([described, warnings])).not.toContain("s3cret");
    expect(errors(["--nats", "http://wgmon_hub:s3cret@nats.example.net"])).toEqual([
      "--nats: (hidden) is not an address: expected nats://USER:PASSWORD@HOST:PORT, with a comma between several HOST:PORT",
    ]);
    const inFile = (text: string) => errors(["--nats-file", FILE], { files: { [FILE]: text } });
    expect(inFile("s3cret")[0]).toStartWith("--nats-file: (hidden) is not an address: ");
    expect(inFile(`${URL}\n${URL}`)).toEqual([
      "--nats-file: the file has 2 lines instead of one with the address",
    ]);
    expect(errors(["--nats", URL, "--nats-file", FILE])).toEqual([
      "nats and nats-file: give only one of them",
    ]);
    expect(run(["--nats-ca", "/etc/x"]).warnings).toEqual(["--nats-ca has no effect without nats"]);
  });
});

describe("a hub that a gateway reaches by NATS", () => {
  const gateway = ["--host", "Berlin"];
  const address = "nats://berlin:s3cret@n1.example.net,n2.example.net";

  test("the URL has the servers, the name of the gateway and its password", () => {
    const { settings } = runGateway([...gateway, "--hub", address]);
    const servers = ["n1.example.net:4222", "n2.example.net:4222"];
    const login = { ...LOGIN, servers, user: "berlin" };
    const url = "tls://n1.example.net:4222,n2.example.net:4222";
    expect(settings.hub).toEqual({ type: "nats", url, gateway: "berlin", login } as never);
    const described = describeSettings(settings, "gw1");
    expect(described["hub"]).toBe(`${url} as berlin`);
    expect(JSON.stringify(described)).not.toContain("s3cret");
  });

  test("it may be in the file, as wgmon hub enroll prints it, with an authority", () => {
    const files = { "/h": `hub = "${address}"`, "/ca": CA };
    const argv = [...gateway, "--hub-file", "/h", "--hub-ca", "/ca"];
    expect(runGateway(argv, { files }).settings.hub).toMatchObject({ login: { ca: CA } });
  });

  test("with a credentials file, the name is that of the host", () => {
    const argv = [...gateway, "--hub", "tls://n1.example.net", "--nats-credentials", "/c"];
    const { settings, warnings } = runGateway(argv, { files: { "/c": CREDENTIALS } });
    expect(settings.hub).toMatchObject({ gateway: "berlin", login: { credentials: CREDENTIALS } });
    expect(warnings).toEqual([]);
  });

  test("the user must be the name of the gateway, and the settings of a hub are refused", () => {
    const of = (...argv: string[]) => errorsOf([...gateway, ...argv]);
    expect(of("--hub", "nats://paris:s3cret@n1.example.net")).toEqual([
      '--hub: the user name in the URL is "paris", but this gateway is "berlin"; set host to paris, or on the hub: wgmon hub enroll berlin',
    ]);
    expect(of("--hub", "nats://n1.example.net")).toEqual([
      "--hub: has no user and password; give them, or nats-credentials",
    ]);
    expect(of("--hub", "nats://berlin:s3cret@n1.example.net/x")[0]).not.toContain("s3cret");
    expect(of("--nats", URL)).toEqual([
      "--nats: is a setting of wgmon hub; a gateway has the setting hub",
    ]);
  });
});
