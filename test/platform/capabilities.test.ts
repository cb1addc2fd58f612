/** The reason in an error if the kernel refuses: a missing capability, or another possible reason. */

import { expect, test } from "bun:test";

import {
  explainProgramRefusal,
  explainRefusal,
  includes,
  kernelError,
  ownCapabilities,
} from "../../src/platform/capabilities.ts";
import { CAP_NET_ADMIN, EACCES, ENODEV, EPERM } from "../../src/platform/constants.ts";

const NET_ADMIN = 1n << BigInt(CAP_NET_ADMIN);
const isRoot = process.geteuid!() === 0;

test("the reason of an error is a missing capability, or another one if wgmon has the capability", () => {
  const none = { effective: 0n, ambient: 0n };
  const missing =
    "not permitted; wgmon needs CAP_NET_ADMIN, run it as root or give it that capability";
  expect(explainRefusal("CAP_NET_ADMIN", none)).toBe(missing);
  expect(explainRefusal("CAP_NET_ADMIN", null)).toBe(missing);
  const own = { effective: NET_ADMIN, ambient: 0n };
  expect(explainRefusal("CAP_NET_ADMIN", own)).toBe(
    "not permitted, although wgmon has CAP_NET_ADMIN. In a user namespace, such as a rootless container, the capability applies only to network namespaces created there; otherwise a security module or a seccomp filter denies it",
  );
  expect(explainRefusal("CAP_NET_RAW", own)).toContain("needs CAP_NET_RAW");
});

test("the reason of an error of a program is a capability that it does not inherit from wgmon", () => {
  const needs = "it needs CAP_NET_ADMIN, which root has";
  expect(explainProgramRefusal("CAP_NET_ADMIN", null)).toBe(needs);
  expect(explainProgramRefusal("CAP_NET_ADMIN", { effective: 0n, ambient: 0n })).toBe(needs);
  const both = { effective: NET_ADMIN, ambient: NET_ADMIN };
  expect(explainProgramRefusal("CAP_NET_ADMIN", both)).toContain(
    "although wgmon has CAP_NET_ADMIN",
  );
  // A program that root starts inherits all capabilities.
  expect(explainProgramRefusal("CAP_NET_ADMIN", { effective: NET_ADMIN, ambient: 0n })).toContain(
    isRoot ? "although wgmon has" : "make it ambient too",
  );
});

test("an error of the kernel has the reason for the capabilities of this process", () => {
  const own = ownCapabilities();
  expect(own).not.toBeNull();
  const words = includes(own!.effective, "CAP_NET_ADMIN") ? "although wgmon has" : "wgmon needs";
  for (const code of [EPERM, EACCES]) {
    expect(kernelError("scan wg0", code).message).toMatch(
      new RegExp(`^scan wg0: E(PERM|ACCES) \\(not permitted.*${words} CAP_NET_ADMIN`),
    );
  }
  expect(kernelError("scan wg0", ENODEV).message).toBe("scan wg0: ENODEV (no such device)");
});
