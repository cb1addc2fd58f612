/** Scripts that load wgmon's firewall rules for group 1 into the current network namespace. */

import { iptablesRules, nftRules } from "../../src/firewall/nft-rules.ts";

export function loadedByNft(...ports: readonly number[]): string {
  return nftLoad(nftRules({ ports, group: 1 }));
}

/** With -e: all lines must succeed, except those that redirect their errors to /dev/null. */
export function loadedByIptables(...ports: readonly number[]): string {
  const text = iptablesRules({ ports, group: 1 }).replaceAll("2>/dev/null\n", "2>/dev/null || :\n");
  return `sh -e ${hereDocument(text)}`;
}

/** @param flags of nft, for example `-c`. */
export function nftLoad(rules: string, flags = ""): string {
  return `nft ${flags} -f /dev/stdin ${hereDocument(rules)}`;
}

function hereDocument(text: string): string {
  return `<<'END'\n${text}END\n`;
}
