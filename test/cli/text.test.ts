/** Text and tables for people: a name cannot break the layout, whatever it contains. */

import { describe, expect, test } from "bun:test";

import fc from "fast-check";

import {
  bytes,
  coloured,
  type Column,
  cutTo,
  json,
  paintFor,
  peerName,
  plain,
  rate,
  since,
  tableOf,
  widthOf,
} from "../../src/cli/text.ts";
import { hostileText } from "../support/events.ts";
import { ALICE } from "../support/peers.ts";

test.each([
  [0, "0 B"],
  [1023, "1023 B"],
  [1024, "1.0 KiB"],
  [1024 * 9.94, "9.9 KiB"],
  [1024 * 9.96, "10 KiB"],
  [1024 * 1023.4, "1023 KiB"],
  [1024 * 1023.6, "1.0 MiB"],
  [5 * 1024 ** 3, "5.0 GiB"],
  [Number.MAX_SAFE_INTEGER, "8.0 PiB"],
  [null, "?"],
])("formatBytes formats %p bytes as %p", (count, text) => {
  expect(bytes(count)).toBe(text);
  expect(rate(count)).toBe(count === null ? "?" : `${text}/s`);
  expect(text.length).toBeLessThanOrEqual(8);
});

test("times are formatted as how long ago they were, and a time in the future as 0s", () => {
  const now = Date.parse("2026-01-01T12:00:00Z");
  expect(since("2026-01-01T11:56:55Z", now)).toBe("3m 5s");
  expect(since("2026-01-01T12:00:01Z", now)).toBe("0s");
  expect(since(null, now)).toBe("?");
});

test("a peer is shown by the visible part of its name, or by the beginning of its key", () => {
  expect(peerName({ name: "al\u001b[2Jice\u202e", publicKey: ALICE })).toBe("al [2Jice");
  expect(peerName({ name: "\u200b", publicKey: ALICE })).toBe("AAAAAAAA…");
  expect(peerName({ name: null, publicKey: ALICE })).toBe("AAAAAAAA…");
});

test("JSON contains no control characters, and parses to the same value", () => {
  fc.assert(
    fc.property(hostileText, (text) => {
      const written = json({ text });
      expect(written).not.toMatch(/[\p{Cc}\p{Bidi_Control}\p{Zl}\p{Zp}]/u);
      expect(JSON.parse(written)).toEqual({ text });
    }),
  );
});

test("there are colours only on a terminal and only without NO_COLOR", () => {
  expect(paintFor({}, true)).toBe(coloured);
  expect(paintFor({ NO_COLOR: "" }, true)).toBe(coloured);
  expect(paintFor({ NO_COLOR: "1" }, true)).toBe(plain);
  expect(paintFor({}, false)).toBe(plain);
});

test("truncated text is never wider than the room", () => {
  expect(cutTo("unicorn", 4)).toBe("uni…");
  // These characters are two columns wide, and the second would not fit.
  expect(cutTo("漢字漢", 4)).toBe("漢…");
  expect(cutTo("漢字", 4)).toBe("漢字");
  expect(cutTo("x", 0)).toBe("");
  fc.assert(
    fc.property(hostileText, fc.nat(30), (text, columns) => {
      const name = peerName({ name: text, publicKey: ALICE });
      const cut = cutTo(name, columns);
      expect(widthOf(cut)).toBeLessThanOrEqual(columns);
      if (widthOf(name) <= columns) expect(cut).toBe(name);
    }),
  );
});

describe("the table of a command", () => {
  interface Row {
    readonly name: string;
    readonly place: string;
    readonly bytes: number;
  }
  const columns: readonly Column<Row>[] = [
    {
      title: "NAME",
      cell: ({ name }) => peerName({ name, publicKey: ALICE }),
      priority: 0,
      shrinkTo: 6,
    },
    { title: "PLACE", cell: ({ place }) => place, priority: 2, style: () => "green" },
    { title: "BYTES", cell: (row) => bytes(row.bytes), priority: 1, isNumber: true, minWidth: 8 },
  ];
  const rows: readonly Row[] = [
    { name: "alice", place: "192.0.2.1:51820", bytes: 2048 },
    { name: "somebody with a long name", place: "", bytes: 0 },
  ];
  const draw = (room: number | null, paint = plain) => {
    const { header, line } = tableOf(columns, rows, { maxWidth: room, paint });
    return [header, ...rows.map(line)];
  };

  test("a table has all columns and whole names if there is room", () => {
    expect(draw(null)).toEqual([
      "NAME                       PLACE               BYTES",
      "alice                      192.0.2.1:51820   2.0 KiB",
      "somebody with a long name                        0 B",
    ]);
  });

  test("a table with less room truncates names, then leaves out columns by priority", () => {
    expect(draw(40)).toEqual([
      "NAME           PLACE               BYTES",
      "alice          192.0.2.1:51820   2.0 KiB",
      "somebody wit…                        0 B",
    ]);
    expect(draw(20)).toEqual([
      "NAME           BYTES",
      "alice        2.0 KiB",
      "somebody …       0 B",
    ]);
    expect(draw(4)).toEqual(["NAME", "ali…", "som…"]);
  });

  test("a table has colours around whole cells", () => {
    expect(draw(40, coloured)[1]).toBe(
      "alice          \u001b[32m192.0.2.1:51820\u001b[0m   2.0 KiB",
    );
  });

  test("a table keeps its layout with any content", () => {
    const row = fc.record({
      name: hostileText,
      place: fc.constantFrom("", "[2001:db8::1]:1"),
      bytes: fc.nat(),
    });
    fc.assert(
      fc.property(
        fc.array(row, { maxLength: 5 }),
        fc.integer({ min: 1, max: 90 }),
        (some, room) => {
          const { header, line } = tableOf(columns, some, { maxWidth: room, paint: plain });
          for (const text of [header, ...some.map(line)]) {
            expect(widthOf(text)).toBeLessThanOrEqual(room);
            expect(text).not.toMatch(/\p{Cc}|\p{Bidi_Control}/u);
          }
        },
      ),
    );
  });
});
