/** Reading the settings again: what is reported, and that reloads do not overlap. */

import { describe, expect, test } from "bun:test";

import { ConfigError } from "../src/base/errors.ts";
import type { Command, Settings } from "../src/config/config.ts";
import { Reloader } from "../src/reloader.ts";
import { parse, run } from "./support/settings.ts";

function reloaderWith(
  commands: (Command | Error)[],
  apply: (wanted: Settings) => Settings | Promise<Settings> = (wanted) => wanted,
) {
  const log: string[] = [];
  const line = (level: string) => (text: string) => void log.push(`${level} ${text}`);
  const app = {
    settings: run([]).settings,
    unmatched: [] as string[],
    async reload(wanted: Settings) {
      app.settings = await apply(wanted);
      return app.settings;
    },
  };
  const reloader = new Reloader({
    app,
    hostname: "gw1",
    notifier: { reloading: () => log.push("reloading"), ready: () => log.push("ready") },
    log: {
      debug: line("debug"),
      info: line("info"),
      warn: line("warn"),
      error: line("error"),
      setLevel: (level) => void log.push(`level ${level}`),
    },
    checkSecrets: () => Promise.resolve(),
    readCommand() {
      const command = commands.shift()!;
      if (command instanceof Error) throw command;
      return { command, files: new Map() };
    },
  });
  return { reloader, log, app };
}

describe("a reload", () => {
  test("its report has the names of the settings that match nothing, too", async () => {
    const { reloader, app } = reloaderWith([parse([])]);
    app.unmatched = ['no peer is called "berln" now (alert office)'];
    expect((await reloader.reload()).warnings).toEqual(app.unmatched);
  });

  test("a reload reports what changed, what needs a restart, and the warnings", async () => {
    const wanted = parse(["--tick", "5s", "--group", "9", "--monitor", "poll"]);
    const { reloader, log } = reloaderWith([wanted], (settings) => ({ ...settings, group: 1 }));
    const report = await reloader.reload();
    expect(report).toMatchObject({ needRestart: ["monitor", "group"] });
    expect(report.changed).toContain("tick");
    expect(report.changed).not.toContain("group");
    expect(report.warnings).toHaveLength(1);
    expect(log.filter((line) => !line.startsWith("warn"))).toEqual([
      "reloading",
      "level info",
      "info settings reloaded",
      "ready",
    ]);
  });

  test("mistakes in the settings are logged and reported, and the next reload runs", async () => {
    const { reloader, log, app } = reloaderWith([
      new ConfigError(["tick: is wrong", "host: is wrong"]),
      parse(["--tick", "5s"]),
    ]);
    const error = await reloader.reload().catch((thrown: unknown) => thrown);
    expect((error as ConfigError).errors).toEqual(["tick: is wrong", "host: is wrong"]);
    expect(log).toEqual([
      "reloading",
      "error settings not reloaded; the current ones stay in effect: tick: is wrong; host: is wrong",
      "ready",
    ]);
    expect((await reloader.reload()).changed).toEqual(["tick"]);
    expect(app.settings.tickMs).toBe(5000);
  });

  test("while a reload runs, the next one waits", async () => {
    const order: number[] = [];
    let running = 0;
    const gates = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
    const { reloader } = reloaderWith(
      [parse(["--tick", "5s"]), parse(["--tick", "6s"])],
      async (wanted) => {
        order.push(wanted.tickMs);
        await gates[running++]!.promise;
        order.push(-wanted.tickMs);
        return wanted;
      },
    );
    const both = [reloader.reload(), reloader.reload()];
    gates[1]!.resolve();
    await new Promise((resolve) => setImmediate(resolve));
    expect(order).toEqual([5000]);
    gates[0]!.resolve();
    await Promise.all(both);
    expect(order).toEqual([5000, -5000, 6000, -6000]);
  });
});
