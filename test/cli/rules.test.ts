/** `wgmon rules` with fake devices and an nft that only records its input. */

import { describe, expect, test } from "bun:test";

import { SystemError } from "../../src/base/errors.ts";
import { type RulesRequest, runRules } from "../../src/cli/rules.ts";
import { iptablesRules, nftRules } from "../../src/firewall/nft-rules.ts";
import type { ScanResult } from "../../src/kernel/devices.ts";
import { fakeScan } from "../support/scans.ts";

interface Run {
  readonly exitCode: number;
  readonly printed: readonly string[];
  readonly complaints: readonly string[];
  /** The input of nft. */
  readonly scripts: readonly string[];
}

async function run(
  request: Partial<RulesRequest> & Pick<RulesRequest, "action">,
  { scan = fakeScan(51820), failure }: { scan?: ScanResult; failure?: Error } = {},
): Promise<Run> {
  const [printed, complaints, scripts]: string[][] = [[], [], []];
  const exitCode = await runRules(
    { devices: [], group: 1, ...request },
    {
      devices: { scan: async () => scan },
      print: (line) => printed!.push(line),
      warn: (text) => complaints!.push(text),
      async nft(_operation, script) {
        scripts!.push(script);
        if (failure !== undefined) throw failure;
      },
    },
  );
  return { exitCode, printed: printed!, complaints: complaints!, scripts: scripts! };
}

const done = { exitCode: 0, complaints: [] };
const refused = { exitCode: 1, printed: [], scripts: [] };

function linesOf(text: string): string[] {
  return text.trimEnd().split("\n");
}

describe("wgmon rules --nft and --iptables", () => {
  test("--nft and --iptables print the rules for all ports, in the form to save", async () => {
    const scan = fakeScan(51821, 51820, 51821);
    const options = { ports: [51820, 51821], group: 5 };
    const nft = await run({ action: "nft", group: 5 }, { scan });
    expect(nft).toEqual({ ...done, printed: linesOf(nftRules(options)), scripts: [] });
    const iptables = await run({ action: "iptables", group: 5 }, { scan });
    expect(iptables).toEqual({ ...done, printed: linesOf(iptablesRules(options)), scripts: [] });
  });

  test("--nft and --iptables leave out a device without a listen port, with a message", async () => {
    expect(await run({ action: "nft" }, { scan: fakeScan(0, 51820) })).toEqual({
      exitCode: 0,
      printed: linesOf(nftRules({ ports: [51820], group: 1 })),
      complaints: ["wgmon: wg0 has no listen port; give it a ListenPort and bring it up"],
      scripts: [],
    });
  });
});

describe.each(["nft", "iptables", "install"] as const)("wgmon rules --%s", (action) => {
  test(`wgmon rules --${action} fails if there is no device`, async () => {
    expect(await run({ action }, { scan: fakeScan() })).toEqual({
      ...refused,
      complaints: ["wgmon: there is no WireGuard device in this network namespace"],
    });
  });

  test(`wgmon rules --${action} fails if no device has a listen port`, async () => {
    expect(await run({ action }, { scan: fakeScan(0) })).toEqual({
      ...refused,
      complaints: ["wgmon: wg0 has no listen port; give it a ListenPort and bring it up"],
    });
  });

  test(`wgmon rules --${action} fails if a named device is missing or has no listen port`, async () => {
    const scan = fakeScan(51820, 0);
    expect(await run({ action, devices: ["wg0", "wg1", "wg7"] }, { scan })).toEqual({
      ...refused,
      complaints: [
        "wgmon: there is no WireGuard device wg7 in this network namespace",
        "wgmon: wg1 has no listen port; give it a ListenPort and bring it up",
      ],
    });
    const missing = { devices: ["wg0", "wg7"] };
    expect(await run({ action, ...missing })).toMatchObject(refused);
  });

  test(`wgmon rules --${action} fails if a device cannot be read, because rules without its port would not log its handshakes`, async () => {
    const problems = [new SystemError("scan wg1", "EPERM", "wgmon needs CAP_NET_ADMIN")];
    expect(await run({ action }, { scan: { ...fakeScan(51820), problems } })).toEqual({
      ...refused,
      complaints: ["wgmon: scan wg1: EPERM (wgmon needs CAP_NET_ADMIN)"],
    });
  });
});

const AFTER_RESTART = "a running wgmon with --monitor auto uses the rules after a restart";

describe("wgmon rules --install", () => {
  test("--install loads the rules that --nft prints, and reports it", async () => {
    expect(await run({ action: "install" }, { scan: fakeScan(51820) })).toEqual({
      ...done,
      printed: [
        "loaded table inet wgmon: handshakes to port 51820 are logged to NFLOG group 1",
        AFTER_RESTART,
      ],
      scripts: [nftRules({ ports: [51820], group: 1 })],
    });
    expect(await run({ action: "install", group: 2 }, { scan: fakeScan(2, 1) })).toMatchObject({
      printed: [
        "loaded table inet wgmon_2: handshakes to ports 1, 2 are logged to NFLOG group 2",
        AFTER_RESTART,
      ],
    });
  });

  test("--install prints the error of nft", async () => {
    const failure = new SystemError("load table inet wgmon", "EPERM", "nft: no");
    expect(await run({ action: "install" }, { failure })).toMatchObject({
      exitCode: 1,
      printed: [],
      complaints: ["wgmon: load table inet wgmon: EPERM (nft: no)"],
    });
  });
});

describe("wgmon rules --remove", () => {
  test("--remove reads no devices, removes the group's table and reports it", async () => {
    const scan = { ...fakeScan(), problems: [new Error("must not be called")] };
    expect(await run({ action: "remove", group: 3 }, { scan })).toEqual({
      ...done,
      printed: ["removed table inet wgmon_3"],
      scripts: ["delete table inet wgmon_3\n"],
    });
  });

  test("--remove prints nothing if there is no table", async () => {
    const failure = new SystemError("remove table inet wgmon", "ENOENT");
    expect(await run({ action: "remove" }, { failure })).toMatchObject({ ...done, printed: [] });
  });

  test("--remove prints other errors", async () => {
    const failure = new SystemError(
      "remove table inet wgmon",
      "nft is not installed",
      "install it",
    );
    expect(await run({ action: "remove" }, { failure })).toMatchObject({
      exitCode: 1,
      complaints: ["wgmon: remove table inet wgmon: nft is not installed (install it)"],
    });
  });
});
