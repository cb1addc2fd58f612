import { expect, test } from "bun:test";

import { codeOf } from "../../src/platform/memory.ts";

const MAPS = `00200000-01a3f000 r--p 00000000 fe:00 917 /usr/bin/wgmon
01a40000-05b2a000 r-xp 0183f000 fe:00 917 /usr/bin/wgmon
05b2b000-05f10000 r--p 05929000 fe:00 917                                /usr/bin/wgmon
05f11000-06020000 rw-p 05d0e000 fe:00 917 /usr/bin/wgmon
3f0000000000-3f0000010000 rwxp 00000000 00:00 0
7f1c2a000000-7f1c2a155000 r-xp 00028000 fe:00 12 /usr/lib/x86_64-linux-gnu/libc.so.6
7ffd1b3f2000-7ffd1b3f4000 r-xp 00000000 00:00 0  [vdso]
`;

test("the program's code is found, and nothing that was changed in memory", () => {
  expect(codeOf(MAPS, "/usr/bin/wgmon")).toEqual([
    { start: 0x01a40000, bytes: 0x05b2a000 - 0x01a40000 },
  ]);
});

test("a path with spaces, and one that is not there", () => {
  const maps = MAPS.replaceAll("/usr/bin/wgmon", "/opt/my tools/wgmon");
  expect(codeOf(maps, "/opt/my tools/wgmon")).toHaveLength(1);
  expect(codeOf(maps, "/usr/bin/wgmon")).toEqual([]);
  expect(codeOf("", "/usr/bin/wgmon")).toEqual([]);
});
