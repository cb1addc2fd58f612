/** Which wake-up `--monitor auto` selects, depending on the firewall rules and on which monitors can be opened. */

import { expect, test } from "bun:test";

import { LibraryError } from "../../ffi/errors.ts";
import { ConfigError, SystemError } from "../../src/base/errors.ts";
import type { Monitor } from "../../src/capture/capture.ts";
import { chooseWakeUp } from "../../src/wakeup/wakeup.ts";

const rules = { logAllPorts: true, found: "wg0's port 51820 is logged to group 1" };
const noRules = { logAllPorts: false, found: "no firewall rule logs to NFLOG group 1" };
const noRaw = new SystemError("open a packet socket", "EPERM");
const noLibrary = new LibraryError("libpcap.so.1 is missing; install libpcap0.8");
const taken = new SystemError("bind NFLOG group 1", "EBUSY", "another program uses it");

async function choose(
  logged: typeof rules,
  failures: Partial<Record<Monitor, Error>> = {},
): Promise<{ wakeUp: string; opened: Monitor[] }> {
  const opened: Monitor[] = [];
  const { wakeUp } = await chooseWakeUp({
    logged,
    open(monitor) {
      opened.push(monitor);
      const failure = failures[monitor];
      if (failure !== undefined) return Promise.reject(failure);
      return Promise.resolve({
        setPorts() {},
        select() {},
        linkChanged() {},
        linksLost() {},
        close() {},
      });
    },
  });
  return { wakeUp: `${wakeUp.monitor}: ${wakeUp.reason}`, opened };
}

test("nflog is selected if rules log the ports, and nothing else is opened", async () => {
  expect(await choose(rules)).toEqual({ wakeUp: `nflog: ${rules.found}`, opened: ["nflog"] });
});

test("bpf is selected if no rules log the ports", async () => {
  expect(await choose(noRules)).toEqual({
    wakeUp: "bpf: no firewall rule logs to NFLOG group 1",
    opened: ["bpf"],
  });
});

test("if one monitor cannot be opened, the other one is selected, and the reason has the error", async () => {
  expect((await choose(rules, { nflog: taken })).wakeUp).toBe(
    `bpf: ${rules.found}; ${taken.message}`,
  );
  expect((await choose(noRules, { bpf: noRaw })).wakeUp).toBe(
    `nflog: ${noRules.found}; ${noRaw.message}`,
  );
  expect((await choose(noRules, { bpf: noLibrary })).wakeUp).toBe(
    `nflog: ${noRules.found}; ${noLibrary.message}`,
  );
});

test("if neither can be opened, poll is selected, and the reason has both errors", async () => {
  expect(await choose(noRules, { bpf: noRaw, nflog: taken })).toEqual({
    wakeUp: `poll: ${noRules.found}; ${noRaw.message}; ${taken.message}`,
    opened: ["bpf", "nflog", "poll"],
  });
});

test("an error in the settings is thrown", async () => {
  const error = new ConfigError(['--filter: "udp and" is not a tcpdump expression']);
  expect(choose(noRules, { bpf: error })).rejects.toBe(error);
});
