/**
 * Finds the NFLOG groups to which nf_tables rules log. Uses netlink, which takes a millisecond and does not need nft.
 * Includes the rules of iptables-nft, but not those of iptables-legacy. linux/netfilter/nf_tables.h.
 */

import { SystemError } from "../base/errors.ts";
import {
  NFNL_SUBSYS_NFTABLES,
  NFT_MSG_GETRULE,
  NFT_MSG_NEWRULE,
  NFTA_EXPR_DATA,
  NFTA_EXPR_NAME,
  NFTA_LOG_GROUP,
  NFTA_RULE_EXPRESSIONS,
  NFTA_TARGET_INFO,
  NFTA_TARGET_NAME,
  NLA_HDRLEN,
  NLMSG_HDRLEN,
} from "../platform/constants.ts";
import { readTextFile } from "../platform/files.ts";
import type { Request, Requester } from "./netlink-socket.ts";
import {
  align,
  attributeEnd,
  attributeType,
  type Bytes,
  expectLength,
  NFGENMSG_BYTES,
  readText,
} from "./netlink.ts";

/** struct xt_nflog_info, linux/netfilter/xt_NFLOG.h: the group follows a 32-bit length, in host byte order. */
const XT_GROUP_AT = 4;

const RULES: Request = {
  type: (NFNL_SUBSYS_NFTABLES << 8) | NFT_MSG_GETRULE,
  dump: true,
  header: new Uint8Array(NFGENMSG_BYTES),
  attributes: [],
};

/**
 * The groups to which the rules of this network namespace log.
 *
 * @throws SystemError: EPERM without CAP_NET_ADMIN, another code if the kernel has no nf_tables; ParseError.
 */
export function listLogGroups(socket: Requester): ReadonlySet<number> {
  const groups = new Set<number>();
  socket.request("list firewall rules", RULES, (answer, start, end, type) => {
    if (type !== ((NFNL_SUBSYS_NFTABLES << 8) | NFT_MSG_NEWRULE)) return;
    for (const rule of attributes(answer, start + NLMSG_HDRLEN + NFGENMSG_BYTES, end)) {
      if (rule.type !== NFTA_RULE_EXPRESSIONS) continue;
      for (const { start: from, end: to } of attributes(answer, rule.start, rule.end)) {
        const group = groupOf(answer, from, to);
        if (group !== null) groups.add(group);
      }
    }
  });
  return groups;
}

/** The group of an expression; null if it does not log to a group. */
function groupOf(answer: Bytes, start: number, end: number): number | null {
  let name = "";
  for (const { type, start: from, end: to } of attributes(answer, start, end)) {
    if (type === NFTA_EXPR_NAME) name = readText(answer.bytes, from, to);
    if (type !== NFTA_EXPR_DATA) continue;
    if (name === "log") return logGroup(answer, from, to);
    if (name === "target") return targetGroup(answer, from, to);
  }
  return null;
}

/** The group of a log expression; null if it logs to the kernel log. */
function logGroup(answer: Bytes, start: number, end: number): number | null {
  for (const { type, start: from, end: to } of attributes(answer, start, end)) {
    if (type !== NFTA_LOG_GROUP) continue;
    expectLength("NFTA_LOG_GROUP", from, to, 2);
    return answer.view.getUint16(from);
  }
  return null;
}

/** The group of an iptables target; null if the target is not NFLOG. */
function targetGroup(answer: Bytes, start: number, end: number): number | null {
  let name = "";
  for (const { type, start: from, end: to } of attributes(answer, start, end)) {
    if (type === NFTA_TARGET_NAME) name = readText(answer.bytes, from, to);
    const hasGroup = type === NFTA_TARGET_INFO && to - from >= XT_GROUP_AT + 2;
    if (hasGroup && name === "NFLOG") return answer.view.getUint16(from + XT_GROUP_AT, true);
  }
  return null;
}

/**
 * Whether this network namespace has tables of iptables-legacy, which use a separate kernel interface. Returns false
 * for users other than root, because only root may read these files and the rules; then wgmon chooses bpf, which needs
 * no rules.
 */
export function hasLegacyTables(): boolean {
  try {
    return ["ip_tables_names", "ip6_tables_names"].some(
      (name) => (readTextFile(`/proc/self/net/${name}`) ?? "").trim() !== "",
    );
  } catch (error) {
    if (error instanceof SystemError) return false;
    throw error;
  }
}

/** The attributes from `start` to `end`, with the bounds of their payloads. */
function* attributes({ view }: Bytes, start: number, end: number) {
  for (let offset = start; offset < end;) {
    const stop = attributeEnd(view, offset, end);
    yield { type: attributeType(view, offset), start: offset + NLA_HDRLEN, end: stop };
    offset = align(stop);
  }
}
