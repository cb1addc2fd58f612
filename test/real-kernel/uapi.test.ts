/**
 * Compares all constants of src/platform/constants.ts, and the sizes and offsets in src, with the installed headers.
 */

import { describe, expect, test } from "bun:test";
import { existsSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

import * as uapi from "../../src/platform/constants.ts";
import { needs } from "../support/kernel.ts";

const HEADERS = `
  stddef.h stdio.h errno.h fcntl.h unistd.h sys/mman.h sys/socket.h sys/time.h
  linux/netlink.h linux/genetlink.h linux/wireguard.h linux/rtnetlink.h linux/if_link.h
  linux/netfilter.h linux/netfilter/nfnetlink.h linux/netfilter/nfnetlink_log.h linux/netfilter/nf_tables.h linux/netfilter/nf_tables_compat.h
  linux/netfilter/xt_NFLOG.h linux/if_packet.h linux/if_ether.h
  linux/filter.h linux/if.h sys/timex.h linux/in.h linux/in6.h linux/time_types.h
  sys/un.h time.h sys/syscall.h linux/stat.h
  linux/prctl.h linux/capability.h
`;

const CONSTANTS: Readonly<Record<string, string | number>> = uapi;

/** Sizes and offsets that src has as literal numbers. */
const LAYOUT: Readonly<Record<string, number>> = {
  // src/kernel/netlink.ts
  "sizeof(struct nlmsghdr)": 16,
  "offsetof(struct nlmsghdr, nlmsg_type)": 4,
  "offsetof(struct nlmsghdr, nlmsg_flags)": 6,
  "offsetof(struct nlmsghdr, nlmsg_seq)": 8,
  "sizeof(struct nlattr)": 4,
  "offsetof(struct nlattr, nla_type)": 2,
  // src/kernel/peer-parser.ts
  "sizeof(struct sockaddr_in)": 16,
  "offsetof(struct sockaddr_in, sin_port)": 2,
  "offsetof(struct sockaddr_in, sin_addr)": 4,
  "sizeof(struct sockaddr_in6)": 28,
  "offsetof(struct sockaddr_in6, sin6_port)": 2,
  "offsetof(struct sockaddr_in6, sin6_flowinfo)": 4,
  "offsetof(struct sockaddr_in6, sin6_addr)": 8,
  "offsetof(struct sockaddr_in6, sin6_scope_id)": 24,
  // src/kernel/peer-rows.ts
  "sizeof(struct __kernel_timespec)": 16,
  "offsetof(struct __kernel_timespec, tv_nsec)": 8,
  // src/kernel/genl-family.ts
  "sizeof(struct genlmsghdr)": 4,
  "offsetof(struct genlmsghdr, version)": 1,
  // src/kernel/links.ts
  "sizeof(struct ifinfomsg)": 16,
  "offsetof(struct ifinfomsg, ifi_index)": 4,
  "offsetof(struct ifinfomsg, ifi_flags)": 8,
  // src/kernel/netlink-socket.ts
  "sizeof(struct timeval)": 16,
  // src/platform/clocks.ts
  "sizeof(struct timex)": 208,
  "offsetof(struct timex, status)": 40,
  // src/platform/files.ts
  "sizeof(struct statx)": 256,
  "offsetof(struct statx, stx_uid)": 20,
  "offsetof(struct statx, stx_mode)": 28,
  // src/capture/nflog.ts
  "sizeof(struct nfgenmsg)": 4,
  "offsetof(struct nfgenmsg, res_id)": 2,
  // src/kernel/log-groups.ts
  "offsetof(struct xt_nflog_info, group)": 4,
  // src/capture/bpf.ts
  "sizeof(struct sockaddr_ll)": 20,
  "offsetof(struct sockaddr_ll, sll_protocol)": 2,
  "offsetof(struct sockaddr_ll, sll_ifindex)": 4,
  "sizeof(struct sock_filter)": 8,
  "sizeof(struct sock_fprog)": 16,
  "offsetof(struct sock_fprog, filter)": 8,
  // src/platform/systemd-notify.ts
  "offsetof(struct sockaddr_un, sun_path)": 2,
  "sizeof(((struct sockaddr_un *)0)->sun_path)": 108,
  "sizeof(struct timespec)": 16,
  CLOCK_MONOTONIC: 1,
};

const compiler = needs("gcc");
const hasHeaders =
  existsSync("/usr/include/linux/wireguard.h") || process.env["WGMON_KERNEL_TESTS"] === "require";
const note = hasHeaders ? "" : " [skipped: no kernel headers; Debian: linux-libc-dev]";
const title = compiler.title(`the installed kernel headers${note}`);

describe.skipIf(compiler.missing || !hasHeaders)(title, () => {
  test("the installed kernel headers have the values of all constants in constants.ts", async () => {
    const formats = Object.entries(CONSTANTS).map(
      ([name, value]) => [name, typeof value === "string" ? "%s" : "%lld"] as const,
    );
    const printed = await values(formats);
    // The header defines it as an int; the field has 16 bits.
    printed["NLA_TYPE_MASK"] = String(Number(printed["NLA_TYPE_MASK"]) & 0xffff);
    expect(printed).toEqual(asTexts(CONSTANTS));
    expect(formats.length).toBeGreaterThan(80);
  });

  test("the installed kernel headers have the sizes and offsets of all structures in src", async () => {
    const formats = Object.keys(LAYOUT).map((expression) => [expression, "%lld"] as const);
    expect(await values(formats)).toEqual(asTexts(LAYOUT));
  });
});

function asTexts(numbers: Readonly<Record<string, string | number>>): Record<string, string> {
  return Object.fromEntries(Object.entries(numbers).map(([name, value]) => [name, String(value)]));
}

/** The values of C expressions, printed by a C program that is compiled here. */
async function values(
  expressions: readonly (readonly [expression: string, format: string])[],
): Promise<Record<string, string>> {
  const lines = expressions.map(([expression, format]) => {
    const value = format === "%s" ? expression : `(long long)(${expression})`;
    return `  printf("${expression}\\t${format}\\n", ${value});`;
  });
  const source = [
    "#define _GNU_SOURCE",
    ...HEADERS.trim()
      .split(/\s+/)
      .map((header) => `#include <${header}>`),
    "int main(void) {",
    ...lines,
    "}",
  ].join("\n");
  const folder = await mkdtemp(join(tmpdir(), "wgmon-uapi-"));
  try {
    const program = join(folder, "values");
    await Bun.write(`${program}.c`, source);
    run(["gcc", "-w", "-o", program, `${program}.c`]);
    const output = run([program]).trim();
    return Object.fromEntries(
      output.split("\n").map((line) => line.split("\t") as [string, string]),
    );
  } finally {
    await rm(folder, { recursive: true });
  }
}

function run(command: string[]): string {
  const { exitCode, stdout, stderr } = Bun.spawnSync(command, { stderr: "pipe" });
  if (exitCode !== 0) throw new Error(`${command.join(" ")}: ${stderr.toString()}`);
  return stdout.toString();
}
