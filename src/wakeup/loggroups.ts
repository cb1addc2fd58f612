/**
 * Which NFLOG groups the rules of nf_tables log to, by netlink: an answer in a millisecond, without nft. The
 * rules of iptables-nft are among them, those of iptables-legacy are not. linux/netfilter/nf_tables.h.
 */

import { SystemError } from "../errors.ts";
import {
  align,
  attributeEnd,
  attributeType,
  type Bytes,
  expectLength,
  readText,
} from "../kernel/netlink.ts";
import type { Request, Requester } from "../kernel/socket.ts";
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
} from "../kernel/uapi.ts";
import { readTextFile } from "../system.ts";

/** sizeof(struct nfgenmsg): family (0: all), version, resource. */
const NFGENMSG_BYTES = 4;
/** struct xt_nflog_info, linux/netfilter/xt_NFLOG.h: the group stands behind a length, in the machine's order. */
const XT_GROUP_AT = 4;

const RULES: Request = {
  type: (NFNL_SUBSYS_NFTABLES << 8) | NFT_MSG_GETRULE,
  dump: true,
  header: new Uint8Array(NFGENMSG_BYTES),
  attributes: [],
};

/**
 * The groups of this network namespace's rules.
 *
 * @throws SystemError: EPERM without CAP_NET_ADMIN, another code where the kernel has no nf_tables; ParseError.
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

/** null: the expression does not log to a group. */
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

/** null: to the kernel's log. */
function logGroup(answer: Bytes, start: number, end: number): number | null {
  for (const { type, start: from, end: to } of attributes(answer, start, end)) {
    if (type !== NFTA_LOG_GROUP) continue;
    expectLength("NFTA_LOG_GROUP", from, to, 2);
    return answer.view.getUint16(from);
  }
  return null;
}

/** null: the target is not NFLOG. */
function targetGroup(answer: Bytes, start: number, end: number): number | null {
  let name = "";
  for (const { type, start: from, end: to } of attributes(answer, start, end)) {
    if (type === NFTA_TARGET_NAME) name = readText(answer.bytes, from, to);
    const isGroupThere = type === NFTA_TARGET_INFO && to - from >= XT_GROUP_AT + 2;
    if (isGroupThere && name === "NFLOG") return answer.view.getUint16(from + XT_GROUP_AT, true);
  }
  return null;
}

/**
 * Whether there are rules of iptables-legacy in this network namespace, which has an interface of its own in
 * the kernel. Only root may read these files, and its rules; for other users there are none: then wgmon
 * captures by itself (bpf), which needs no rule.
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
