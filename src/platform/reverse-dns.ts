/** Seam: the names that the DNS resolver of this machine has for an address. */

/**
 * Bun ignores a shorter time limit of its resolver, so the caller sets the limit by `signal`; this one only ends a
 * lookup whose caller does not.
 */
const TIMEOUT_MS = 5000;

/**
 * Returns the names of an address, from /etc/hosts or from DNS. The names are untrusted: the owner of the address block
 * chooses them. `signal` ends the lookup.
 *
 * @param servers the DNS servers; empty: those of /etc/resolv.conf.
 * @throws Error if the address has no name, the lookup fails or `signal` is aborted. The code of Bun's error does not
 * tell which: it is ENOTFOUND also if the resolver does not answer.
 */
export async function reverseLookup(
  address: string,
  signal: AbortSignal,
  servers: readonly string[] = [],
): Promise<readonly string[]> {
  // Loaded at the first lookup, because most gateways make none.
  const { Resolver } = await import("node:dns/promises");
  signal.throwIfAborted();
  // A new resolver for each lookup: `cancel` ends all lookups of a resolver, and only a new one reads the present
  // /etc/resolv.conf.
  const resolver = new Resolver({ timeout: TIMEOUT_MS, tries: 1 });
  if (servers.length > 0) resolver.setServers(servers);
  const cancel = () => resolver.cancel();
  signal.addEventListener("abort", cancel, { once: true });
  try {
    return await resolver.reverse(address);
  } finally {
    signal.removeEventListener("abort", cancel);
  }
}
