/** In a virtual machine: the configuration of a WireGuard gateway in the machine's own network, and its peers. */

import { newKeys } from "../support/keys.ts";
import { run } from "./steps.ts";

const PORT = 51820;
let peers = 0;

/** The gateway's keys and peers, and the text of its /etc/wireguard/wg0.conf. */
export class Gateway {
  readonly keys = newKeys();
  readonly peers: readonly Peer[];

  constructor(count: number) {
    this.peers = Array.from({ length: count }, () => new Peer(this.keys.publicKey));
  }

  get conf(): string {
    const sections = this.peers.map(
      ({ keys, address, name }) =>
        `[Peer]\n# ${name}\nPublicKey = ${keys.publicKey}\nAllowedIPs = ${address}/32\n`,
    );
    return `[Interface]
PrivateKey = ${this.keys.privateKey}
Address = 10.77.0.1/24
ListenPort = ${PORT}
${sections.join("\n")}`;
  }
}

/** A peer in a separate network namespace, with a separate link to the machine. */
export class Peer {
  readonly keys = newKeys();
  readonly number = ++peers;
  readonly name = `peer${this.number}`;
  readonly address = `10.77.0.${this.number + 1}`;
  readonly #gatewayKey: string;

  constructor(gatewayKey: string) {
    this.#gatewayKey = gatewayKey;
  }

  /** Creates the namespace and the WireGuard device, which connects at once (persistent keepalive). */
  connect(): void {
    const { name, number, keys, address } = this;
    const [gatewayAddress, outerAddress] = [`10.78.${number}.1`, `10.78.${number}.2`];
    const script = `set -e
ip netns add ${name}
ip link add v${name} type veth peer name outer netns ${name}
ip addr add ${gatewayAddress}/24 dev v${name}; ip link set v${name} up
ip -n ${name} addr add ${outerAddress}/24 dev outer; ip -n ${name} link set outer up
ip -n ${name} link add wg type wireguard
ip netns exec ${name} wg set wg private-key /dev/stdin peer ${this.#gatewayKey} endpoint ${gatewayAddress}:${PORT} allowed-ips 10.77.0.1/32 persistent-keepalive 5
ip -n ${name} addr add ${address}/24 dev wg; ip -n ${name} link set wg up
`;
    run(["bash", "-c", script], { stdin: `${keys.privateKey}\n` });
  }
}
