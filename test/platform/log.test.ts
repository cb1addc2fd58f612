/** The exact log lines, and that no value can break a line. */

import { afterEach, beforeEach, describe, expect, jest, test } from "bun:test";
import { fstatSync } from "node:fs";

import fc from "fast-check";

import { chooseFormat, createLog, type Fields, type LogOptions } from "../../src/platform/log.ts";

const NOW_MS = Date.UTC(2026, 0, 2, 3, 4, 5, 678);

function setup(options: Partial<LogOptions> = {}) {
  const lines: string[] = [];
  const write = (line: string): void => void lines.push(line);
  const log = createLog({
    format: "journal",
    level: "debug",
    write,
    now: () => NOW_MS,
    ...options,
  });
  return { log, lines };
}

/** The line of a warning. */
function line(format: LogOptions["format"], message: string, fields?: Fields): string {
  const { log, lines } = setup({ format });
  log.warn(message, fields);
  expect(lines).toHaveLength(1);
  return lines[0]!;
}

describe("a log line", () => {
  const fields = {
    device: "wg0",
    name: "Alice's phone",
    port: 51820,
    endpoint: null,
    none: undefined,
  };

  test("a log line has the expected form as text", () => {
    expect(line("text", "peer connected", fields)).toBe(
      `time=2026-01-02T03:04:05.678Z level=warn msg="peer connected" device=wg0 name="Alice's phone" port=51820 endpoint=null`,
    );
  });

  test("a log line has the expected form as JSON", () => {
    expect(line("json", "peer connected", fields)).toBe(
      `{"time":"2026-01-02T03:04:05.678Z","level":"warn","msg":"peer connected","device":"wg0","name":"Alice's phone","port":51820,"endpoint":null}`,
    );
  });

  test("a log line has the priority of its level for the journal", () => {
    const { log, lines } = setup();
    log.debug("a");
    log.info("b", { n: 1 });
    log.warn("c");
    log.error("d");
    expect(lines).toEqual(["<7>a", "<6>b n=1", "<4>c", "<3>d"]);
  });

  test("a log line has colours on a terminal unless NO_COLOR is set", () => {
    const before = process.env.NO_COLOR;
    try {
      delete process.env.NO_COLOR;
      const time = new Date(NOW_MS).toTimeString().slice(0, 8);
      expect(line("terminal", "peer connected", { n: 1 })).toBe(
        `${time} \x1b[33mwarn \x1b[0m peer connected n=1`,
      );
      process.env.NO_COLOR = "1";
      expect(line("terminal", "peer connected")).toBe(`${time} warn  peer connected`);
    } finally {
      if (before === undefined) delete process.env.NO_COLOR;
      else process.env.NO_COLOR = before;
    }
  });

  test("a log line is not written if it is below the level", () => {
    const { log, lines } = setup({ level: "warn" });
    log.debug("a");
    log.info("b");
    log.warn("c");
    expect(lines).toEqual(["<4>c"]);
  });
});

describe("a value in a log line", () => {
  const circle: Record<string, unknown> = {};
  circle.self = circle;

  test.each([
    ["a bigint", 2n ** 64n, "18446744073709551616"],
    ["an error", new Error("no route"), '"no route"'],
    [
      "an error's cause",
      new Error("scan failed", { cause: new Error("EPERM") }),
      '"scan failed: EPERM"',
    ],
    ["an error without a message", new TypeError(), "TypeError"],
    ["an empty string", "", '""'],
    ["quotes and backslashes", 'a"b\\c', String.raw`"a\"b\\c"`],
    ["an equals sign", "a=b", '"a=b"'],
    ["a list", ["a", 1n], String.raw`"[\"a\",\"1\"]"`],
    ["a circular object", circle, "(unprintable)"],
    ["a symbol", Symbol("s"), "Symbol(s)"],
    ["a newline", "a\nb", String.raw`"a\nb"`],
    ["a terminal's escape", "\x1b[2J", String.raw`"\u001b[2J"`],
    ["an escape of one byte", "\x9b2J", String.raw`"\u009b2J"`],
    ["a direction mark", "a\u202eb", String.raw`"a\u202eb"`],
    ["a lone surrogate", "\ud800", String.raw`"\ud800"`],
    ["a letter of another script", "Zoë", "Zoë"],
  ])("a value in a log line has the expected form if it is %s", (_name, value, text) => {
    expect(line("journal", "m", { value })).toBe(`<4>m value=${text}`);
  });

  test("a value in a log line keeps its type in JSON if JSON has this type", () => {
    const fields = {
      n: 1,
      list: ["a", 1n],
      big: 5n,
      error: new Error("x"),
      circle,
      at: new Date(0),
    };
    expect(JSON.parse(line("json", "m", fields))).toMatchObject({
      n: 1,
      list: ["a", "1"],
      big: "5",
      error: "x",
      circle: "(unprintable)",
      at: "1970-01-01T00:00:00.000Z",
    });
  });
});

test("no value can break a log line or send control characters to a terminal", () => {
  const nasty = fc.string({
    unit: fc.oneof(
      fc.constantFrom(
        "\n",
        "\r",
        "\x1b",
        "\x9b",
        "\x7f",
        "\0",
        "\u2028",
        "\u202e",
        '"',
        "\\",
        "=",
        " ",
        "\ud800",
      ),
      fc.string({ unit: "binary", minLength: 1, maxLength: 1 }),
    ),
  });
  const value = fc.oneof(
    nasty,
    fc.anything({ withBigInt: true, withDate: true, withNullPrototype: true }),
  );
  fc.assert(
    fc.property(nasty, value, nasty, (message, any, text) => {
      for (const format of ["text", "terminal", "json", "journal"] as const) {
        const written = line(format, message, { any, text, error: new Error(text) });
        const bare = written.replace("\x1b[33mwarn \x1b[0m", "warn ");
        expect(bare).not.toMatch(/[\p{Cc}\p{Bidi_Control}\u2028\u2029]/u);
        expect(bare.isWellFormed()).toBe(true);
        if (format === "json") {
          expect(JSON.parse(written)).toMatchObject({ level: "warn", msg: message, text });
        }
      }
    }),
    { numRuns: 500 },
  );
});

describe("a repeated warning", () => {
  beforeEach(() => void jest.useFakeTimers());
  afterEach(() => void jest.useRealTimers());

  test("a repeated warning is written once and counted when another line comes", () => {
    const { log, lines } = setup();
    for (let i = 0; i < 13; i++) log.warn("no route", { device: "wg0" });
    log.info("peer connected");
    log.warn("no route", { device: "wg0" });
    expect(lines).toEqual([
      "<4>no route device=wg0",
      "<4>no route (repeated 12 times) device=wg0",
      "<6>peer connected",
      "<4>no route device=wg0",
    ]);
  });

  test("a repeated warning is also counted after a minute, and counting continues", () => {
    const { log, lines } = setup();
    log.error("a");
    log.error("a");
    jest.advanceTimersByTime(59_999);
    expect(lines).toEqual(["<3>a"]);
    log.error("a");
    jest.advanceTimersByTime(1);
    log.error("a");
    jest.advanceTimersByTime(60_000);
    jest.advanceTimersByTime(60_000);
    expect(lines).toEqual(["<3>a", "<3>a (repeated 2 times)", "<3>a (repeated 1 time)"]);
  });

  test("a warning is repeated only if it has the same level, message and fields", () => {
    const { log, lines } = setup();
    log.warn("a", { n: 1 });
    log.warn("a", { n: 2 });
    log.error("a", { n: 2 });
    expect(lines).toEqual(["<4>a n=1", "<4>a n=2", "<3>a n=2"]);
  });

  test("a repeated line is not combined if its level is below warn", () => {
    const { log, lines } = setup();
    log.info("a");
    log.info("a");
    expect(lines).toEqual(["<6>a", "<6>a"]);
  });

  test("a repeated warning is still combined after a line that is not written", () => {
    const { log, lines } = setup({ level: "info" });
    log.warn("a");
    log.debug("b");
    log.warn("a");
    expect(lines).toEqual(["<4>a"]);
  });
});

describe("standard error", () => {
  test("a standard error that accepts no lines causes a line about the loss as soon as there is room", () => {
    let full = true;
    const lines: string[] = [];
    const write = (written: string): void => {
      if (full) throw Object.assign(new Error("EAGAIN"), { code: "EAGAIN" });
      lines.push(written);
    };
    const { log } = setup({ write });
    log.info("a");
    log.info("b");
    full = false;
    log.info("c");
    log.info("d");
    expect(lines).toEqual([
      "<4>log lines were lost here, because standard error did not accept them lines=2",
      "<6>c",
      "<6>d",
    ]);
  });

  test("a standard error without a reader does not end the process", async () => {
    const script = `
      import { createLog } from ${JSON.stringify(import.meta.resolve("../../src/platform/log.ts"))};
      await Bun.stdin.text();
      const log = createLog({ format: "text", level: "info" });
      for (let i = 0; i < 1000; i++) log.info("x", { i });
      console.log("alive");`;
    const child = Bun.spawn([process.execPath, "-e", script], {
      stdin: "pipe",
      stdout: "pipe",
      stderr: "pipe",
    });
    await child.stderr.cancel();
    await child.stdin.end();
    expect(await child.stdout.text()).toBe("alive\n");
    expect(await child.exited).toBe(0);
  });

  test("standard error gets each line in one write", async () => {
    const script = `
      import { createLog } from ${JSON.stringify(import.meta.resolve("../../src/platform/log.ts"))};
      createLog({ format: "journal", level: "info" }).info("hello", { n: 1 });`;
    const child = Bun.spawn([process.execPath, "-e", script], { stdout: "pipe", stderr: "pipe" });
    expect(await child.stderr.text()).toBe("<6>hello n=1\n");
    expect(await child.stdout.text()).toBe("");
  });
});

describe("the log format", () => {
  const { dev, ino } = fstatSync(2, { bigint: true });
  const here = { JOURNAL_STREAM: `${dev}:${ino}` };
  const elsewhere = { JOURNAL_STREAM: `${dev}:${ino + 1n}` };

  test.each([
    ["auto", here, true, "terminal"],
    ["auto", here, false, "journal"],
    ["auto", elsewhere, false, "text"],
    ["auto", {}, false, "text"],
    ["text", here, true, "text"],
    ["json", here, true, "json"],
    ["journal", {}, true, "journal"],
  ] as const)(
    "the log format %s with %o on a terminal (%p) is %s",
    (setting, env, isTerminal, format) => {
      expect(chooseFormat(setting, { env, isTerminal })).toBe(format);
    },
  );
});
