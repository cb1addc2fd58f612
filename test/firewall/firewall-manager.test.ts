/** --manage-rules with a fake nft: when nft is run, with which script, and what is logged. */

import { beforeEach, describe, expect, test } from "bun:test";

import { SystemError } from "../../src/base/errors.ts";
import { FirewallManager } from "../../src/firewall/firewall-manager.ts";
import { nftRules } from "../../src/firewall/nft-rules.ts";
import { HandClock } from "../support/clock.ts";

/** One run of nft. */
interface Run {
  readonly script: string;
  readonly signal: AbortSignal;
  end(): Promise<void>;
  fail(code: string): Promise<void>;
}

let clock: HandClock;
let logged: string[];
/** All runs, in the order of their start. */
let runs: Run[];
let manager: FirewallManager;

beforeEach(() => {
  clock = new HandClock();
  logged = [];
  runs = [];
  const log = {
    info: (message: string, fields: object = {}) =>
      void logged.push(`${message} ${JSON.stringify(fields)}`),
    warn: (message: string) => void logged.push(`warn ${message}`),
  };
  manager = new FirewallManager({
    group: 1,
    clock,
    log,
    async nft(operation, script, signal) {
      const { promise, resolve, reject } = Promise.withResolvers<void>();
      runs.push({
        script,
        signal,
        async end() {
          resolve();
          await settled();
        },
        async fail(code) {
          reject(new SystemError(operation, code));
          await settled();
        },
      });
      await promise;
    },
  });
});

/** Waits until all pending promise callbacks have run, without time passing. */
async function settled(): Promise<void> {
  await new Promise((resolve) => setImmediate(resolve));
}

const rules = (...ports: number[]) => nftRules({ ports, group: 1 });
const loaded = (ports: string) => `firewall rules loaded {"table":"inet wgmon","ports":"${ports}"}`;
const started = () => runs.map(({ script }) => script);

async function loadedWith(...ports: number[]): Promise<void> {
  manager.setPorts(ports);
  await runs.at(-1)!.end();
  logged.length = 0;
  runs.length = 0;
}

describe("the ports of FirewallManager", () => {
  test("rules for the same ports are loaded only once", async () => {
    manager.setPorts([51821, 51820]);
    expect(started()).toEqual([rules(51820, 51821)]);
    await runs[0]!.end();
    manager.setPorts([51820, 51821, 51820]);
    await settled();
    expect(started()).toHaveLength(1);
    expect(logged).toEqual([loaded("51820,51821")]);
  });

  test("ports that change several times while nft runs cause one more run, with the last ports", async () => {
    manager.setPorts([1]);
    for (const port of [2, 3, 4]) manager.setPorts([port]);
    expect(started()).toEqual([rules(1)]);
    await runs[0]!.end();
    expect(started()).toEqual([rules(1), rules(4)]);
    await runs[1]!.end();
    expect(started()).toHaveLength(2);
  });

  test("ports that change and change back while nft runs cause no further run", async () => {
    manager.setPorts([1]);
    manager.setPorts([2]);
    manager.setPorts([1]);
    await runs[0]!.end();
    expect(started()).toEqual([rules(1)]);
  });

  test("onLoaded is called after each successful load", async () => {
    let count = 0;
    manager.onLoaded = () => void count++;
    manager.setPorts([1]);
    expect(count).toBe(0);
    await runs[0]!.end();
    expect(count).toBe(1);
    manager.setPorts([2]);
    await runs[1]!.fail("EPERM");
    expect(count).toBe(1);
    manager.setPorts([3]);
    await runs[2]!.end();
    expect(count).toBe(2);
    // Without a port there are no rules.
    manager.setPorts([]);
    await runs[3]!.end();
    expect(count).toBe(2);
  });

  test("the table is removed if there are no ports", async () => {
    await loadedWith(1);
    manager.setPorts([]);
    expect(started()).toEqual([rules()]);
    await runs[0]!.end();
    expect(logged).toEqual([]);
    await manager.close();
    expect(started()).toHaveLength(1);
  });
});

describe("a failure of nft", () => {
  test("a failure is logged once, and loading is tried again when the ports change", async () => {
    const warning = "warn firewall rules (table inet wgmon): load table inet wgmon: EPERM";
    manager.setPorts([1]);
    await runs[0]!.fail("EPERM");
    manager.setPorts([1]);
    expect(started()).toEqual([rules(1)]);
    manager.setPorts([2]);
    await runs[1]!.fail("EPERM");
    expect(logged).toEqual([warning]);
    manager.setPorts([3]);
    await runs[2]!.end();
    expect(logged).toEqual([warning, loaded("3")]);
    // Logged again after a success.
    manager.setPorts([4]);
    await runs[3]!.fail("EPERM");
    expect(logged).toEqual([warning, loaded("3"), warning]);
  });

  test("a failure does not prevent a load of the previous ports when they return", async () => {
    await loadedWith(1);
    manager.setPorts([2]);
    await runs[0]!.fail("EPERM");
    manager.setPorts([1]);
    await runs[1]!.end();
    expect(started()).toEqual([rules(2), rules(1)]);
  });

  test("a timeout may leave a table, which close removes", async () => {
    manager.setPorts([1]);
    await runs[0]!.fail("timed out");
    const closed = manager.close();
    await settled();
    expect(started()).toEqual([rules(1), "delete table inet wgmon\n"]);
    await runs[1]!.end();
    await closed;
  });

  test("a failure other than a timeout leaves no table, so close runs nothing", async () => {
    manager.setPorts([1]);
    await runs[0]!.fail("nft is not installed");
    await manager.close();
    expect(started()).toHaveLength(1);
  });
});

describe("the check of the table", () => {
  test("a check of an existing table logs and changes nothing", async () => {
    await loadedWith(1);
    manager.check();
    expect(started()).toEqual(["list chain inet wgmon input\n"]);
    await runs[0]!.end();
    expect(started()).toHaveLength(1);
    expect(logged).toEqual([]);
  });

  test("a check of a table that another program removed loads it again", async () => {
    await loadedWith(1);
    manager.check();
    await runs[0]!.fail("ENOENT");
    await runs[1]!.end();
    expect(started()[1]).toBe(rules(1));
    expect(logged).toEqual([expect.stringMatching(/^warn .*table is gone/), loaded("1")]);
  });

  test("a check after a failed load tries it again", async () => {
    manager.setPorts([1]);
    await runs[0]!.fail("nft is not installed");
    manager.check();
    await runs[1]!.fail("nft is not installed");
    manager.check();
    await runs[2]!.end();
    expect(started()).toEqual([rules(1), rules(1), rules(1)]);
    expect(logged).toEqual([expect.stringMatching(/^warn .*nft is not installed/), loaded("1")]);
    manager.check();
    expect(started().at(-1)).toBe("list chain inet wgmon input\n");
  });

  test("a check while nft runs does not start a second run", async () => {
    manager.setPorts([1]);
    manager.check();
    expect(started()).toEqual([rules(1)]);
    await runs[0]!.end();
    expect(started()).toHaveLength(1);
  });

  test("a check that fails itself is logged once, and repeated at the next check", async () => {
    await loadedWith(1);
    for (const n of [0, 1]) {
      manager.check();
      await runs[n]!.fail("EPERM");
    }
    const list = "list chain inet wgmon input\n";
    expect(started()).toEqual([list, list]);
    expect(logged).toEqual([
      "warn firewall rules (table inet wgmon): list table inet wgmon: EPERM",
    ]);
  });

  test("a check of a missing table that cannot be loaded retries the load each time", async () => {
    await loadedWith(1);
    manager.check();
    await runs[0]!.fail("ENOENT");
    await runs[1]!.fail("EPERM");
    manager.check();
    await runs[2]!.end();
    expect(started().slice(1)).toEqual([rules(1), rules(1)]);
  });

  test("a check before the first load does not run nft", () => {
    manager.check();
    expect(runs).toEqual([]);
  });
});

describe("close()", () => {
  test("close removes the table only once", async () => {
    await loadedWith(1);
    const closed = manager.close();
    await settled();
    expect(started()).toEqual(["delete table inet wgmon\n"]);
    await runs[0]!.end();
    await closed;
    await manager.close();
    manager.setPorts([2]);
    manager.check();
    expect(runs).toHaveLength(1);
    expect(logged).toEqual([]);
    expect(clock.waiting).toBe(0);
  });

  test("close accepts that the table was removed already", async () => {
    await loadedWith(1);
    const closed = manager.close();
    await settled();
    await runs[0]!.fail("ENOENT");
    await closed;
    expect(logged).toEqual([]);
  });

  test("close runs nothing if nothing was loaded", async () => {
    await manager.close();
    expect(runs).toEqual([]);
  });

  test("close kills a running nft first, then removes what it may have loaded", async () => {
    manager.setPorts([1]);
    const closed = manager.close();
    expect(runs[0]!.signal.aborted).toBe(true);
    await settled();
    expect(started()).toEqual([rules(1)]);
    await runs[0]!.fail("aborted");
    expect(started()).toEqual([rules(1), "delete table inet wgmon\n"]);
    expect(runs[1]!.signal.aborted).toBe(false);
    await runs[1]!.end();
    await closed;
    expect(logged).toEqual([]);
  });

  test("close waits at most three seconds", async () => {
    await loadedWith(1);
    let isClosed = false;
    const closed = manager.close().then(() => {
      isClosed = true;
    });
    await settled();
    clock.advance(2999);
    await settled();
    expect(isClosed).toBe(false);
    clock.advance(1);
    await closed;
    // nft may still finish.
    expect(runs[0]!.signal.aborted).toBe(false);
    expect(logged).toEqual([
      "warn firewall rules (table inet wgmon): not removed within 3 s; if it remains: nft delete table inet wgmon",
    ]);
  });

  test("close logs a failure", async () => {
    await loadedWith(1);
    const closed = manager.close();
    await settled();
    await runs[0]!.fail("EPERM");
    await closed;
    expect(logged).toEqual([
      "warn firewall rules (table inet wgmon): remove table inet wgmon: EPERM",
    ]);
  });
});
