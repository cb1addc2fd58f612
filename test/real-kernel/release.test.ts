/** The release binary in a root folder with only glibc, at a gateway with real WireGuard. */

import { afterAll, beforeAll, describe, test } from "bun:test";
import { existsSync } from "node:fs";

import { BareRoot, RELEASE } from "../support/bare-root.ts";
import { needs, skipIf } from "../support/kernel.ts";
import { Lab, type LabDevice } from "../support/lab.ts";
import { REPORT_MS, TEST_MS } from "../support/until.ts";
import { startWgmon } from "../support/wgmon.ts";

const kernel = needs("own network", "wireguard", "ip", "wg", "nft", "tc", "ping");

// test/e2e/release.test.ts builds the release; if it cannot, that test is skipped with the reason.
const release = skipIf(existsSync(RELEASE) ? null : "no release was built");

describe.skipIf(kernel.missing || release.missing)(
  kernel.title(release.title("a release without other files")),
  () => {
    let lab: Lab;
    let wg0: LabDevice;
    let root: BareRoot;

    beforeAll(async () => {
      lab = await Lab.create();
      wg0 = await lab.device("wg0", { port: 51820 });
      await lab.addPlainRule(wg0.port, 1);
      root = await BareRoot.create();
    }, TEST_MS);

    afterAll(async () => {
      lab[Symbol.dispose]();
      await root[Symbol.asyncDispose]();
    });

    test.each([
      ["nflog", []],
      ["bpf", ["--interface", "any"]],
    ] as const)(
      "a release without other files reports a peer (%s)",
      async (monitor, more) => {
        // No tick, which could find the peer before its packets do.
        const args = ["--monitor", monitor, ...more, "--tick", "1h", "--reconcile", "0"];
        args.push("--state-dir", `/tmp/${monitor}`);
        const [program, ...rest] = root.command(...args, "--log-level", "debug");
        await using wgmon = startWgmon(rest, { binary: program! });
        // After the warm-up, in which wgmon scans repeatedly.
        await wgmon.waitForLog(({ msg }) => msg === "warm", REPORT_MS);
        const peer = await wg0.client(`by ${monitor}`);
        await peer.connect();
        await wgmon.waitForLog(({ event }) => event === "peer.connected", REPORT_MS);
        // The scan was caused by a packet.
        await wgmon.waitForLog((line) => line["reason"] === "packet", REPORT_MS);
      },
      TEST_MS,
    );
  },
);
