/** The firewall snippets of README.md and docs/ log what the documentation says. */

import { describe, expect, test } from "bun:test";

import { needs } from "../support/kernel.ts";
import { expectLogged, type Message, messages } from "../support/logged-messages.ts";
import { snippet } from "../support/readme.ts";
import { runScript } from "../support/script.ts";

const tools = needs("own namespaces", "nft", "bash");
const noIptables = Bun.which("iptables") === null ? " [skipped: no iptables]" : "";

describe.skipIf(tools.missing)(tools.title("documented firewall rules"), () => {
  const handshakes: Message[] = ["initiation", "response", "first data"];
  const everything = Object.keys(messages) as Message[];

  test("the rules of nftables for handshakes log exactly the handshake messages", async () => {
    await expectRules(nft(snippet("nft-handshake")), handshakes);
  });

  test("the rules of nftables for every packet log all messages", async () => {
    await expectRules(nft(snippet("nft-plain")), everything);
  });

  test.skipIf(noIptables !== "")(
    `the rules of iptables log all messages${noIptables}`,
    async () => {
      const [add, remove] = [snippet("iptables-add"), snippet("iptables-remove")];
      await expectRules({ add, remove }, everything);
    },
  );

  test("the hooks of wg-quick log exactly the handshake messages", async () => {
    const add = hooks("PostUp");
    const remove = hooks("PostDown");
    await expectRules({ add: add + add, remove: remove + remove }, handshakes);
    // The tunnel must come up even if nft fails.
    await runScript(`nft() { return 1; }\n${add}${remove}`);
  });

  /** The hooks as wg-quick(8) runs them in bash, with %i replaced by the interface. */
  function hooks(name: string): string {
    const found = [...snippet("wg-quick").matchAll(new RegExp(`^${name} = (.*)$`, "gm"))];
    return found.map(([, hook]) => `${hook!.replaceAll("%i", "wg0")}\n`).join("");
  }

  /** The documented commands for a file of rules. It is loaded twice, which must be the same as loading it once. */
  function nft(text: string) {
    const path = "/etc/wgmon/wgmon.nft";
    expect(snippet("nft-load")).toContain(path);
    const load = `${snippet("nft-load").trim().replace(path, "/dev/stdin")} <<'END'\n${text}END\n`;
    return { add: load + load, remove: snippet("nft-remove") };
  }

  /**
   * Applies the rules next to rules of another firewall. The other rules must not change, other traffic must
   * pass, exactly the `wanted` messages must be logged, once each, over IPv4 and IPv6, and no rule may remain
   * after the removal.
   */
  async function expectRules(
    { add, remove }: { readonly add: string; readonly remove: string },
    wanted: readonly Message[],
  ) {
    const rules = () => runScript("nft -s list ruleset 2>&1");
    await runScript(`
      nft add table inet other
      nft 'add chain inet other input { type filter hook input priority 0; policy accept; }'
      nft add rule inet other input tcp dport 22 accept
      # iptables creates its tables at its first use, and keeps them.
      if type iptables >&/dev/null; then iptables -P INPUT ACCEPT; ip6tables -P INPUT ACCEPT; fi
    `);
    const before = await rules();
    await runScript(add);
    const during = await rules();
    expect(during).not.toBe(before);
    expect(during).toContain((await runScript("nft -s list table inet other")).trim());
    expect(during).not.toMatch(/policy (?!accept)|\b(drop|reject)\b/);
    await expectLogged(wanted);
    await runScript(remove);
    expect(await rules()).toBe(before);
    await runScript("nft flush ruleset");
  }
});
