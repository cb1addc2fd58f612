/**
 * Builds real WireGuard networks for kernel tests. The gateway is the network namespace of the test process. All
 * clients share one other namespace; each has its own link, addresses and route. Starting a process takes 0.1 s on an
 * emulated machine, so fifty clients must not need fifty shells.
 * Needs root, WireGuard (or wireguard-go), ip, wg, tc, nft, ping, unshare, nsenter and bash.
 */

import { randomBytes } from "node:crypto";
import { readlinkSync } from "node:fs";

import { type KeyPair, newKeys } from "./keys.ts";
import { REPORT_MS } from "./until.ts";

export interface ClientOptions {
  /** Of the outer addresses. */
  readonly family?: 4 | 6;
  readonly presharedKey?: boolean;
  /** Client and gateway have different preshared keys: no handshake completes. */
  readonly wrongPresharedKey?: boolean;
  readonly keepaliveSeconds?: number;
  /** Round-trip delay of the outer link, half of it in each direction. */
  readonly roundTripMs?: number;
  /** The link carries tagged frames of this VLAN. */
  readonly vlan?: number;
  /** Uses the private key and inner address of that client, at another outer address. */
  readonly sharesKeyWith?: Client;
  readonly outerPort?: number;
  /** Uses the link and outer address of that client. */
  readonly sharesLinkWith?: Client;
  /** Needed if another client has the same outer port. */
  readonly ownNamespace?: boolean;
  /** Configures the client's endpoint at the gateway, so that the gateway can initiate (LabDevice.sendTo). */
  readonly endpointKnown?: boolean;
}

/** A datagram that the gateway received through a tunnel. */
export interface Arrival {
  readonly client: Client;
  /** performance.now() of this process. */
  readonly atMs: number;
}

/** The state of a client at the gateway, from `wg show`. */
export interface PeerState {
  readonly endpoint: string | null;
  readonly latestHandshakeSeconds: number | null;
  readonly rxBytes: number;
  readonly txBytes: number;
}

/** No number is used twice in a process, because the kernel removes old links with a delay. */
let links = 0;
let devices = 0;
let ports = 40_000;

const TABLE = "inet lab";

/** A shell command that waits until wireguard-go serves a device. */
function waitForUserspace(name: string): string {
  const socket = `/run/wireguard/${name}.sock`;
  return `for i in $(seq 200); do [ -S ${socket} ] && break; sleep 0.05; done; [ -S ${socket} ]`;
}

export class Lab implements Disposable {
  readonly #socket: Bun.udp.Socket<"buffer">;
  readonly #namespaces: Namespace[] = [new Namespace()];
  readonly #interfaces = new Set<string>();
  readonly #clients: Client[] = [];
  readonly #listeners = new Set<(arrival: Arrival) => void>();

  /** Whether the devices are of wireguard-go, for kernels without WireGuard. */
  readonly isUserspace: boolean;

  /**
   * @param options isUserspace: needs wireguard-go, and a /run/wireguard of this process's own. outside: the machine's
   *   own network namespace; in some containers, that of process 1 cannot be read.
   */
  static async create({
    isUserspace = false,
    outside = readlinkSync("/proc/1/ns/net"),
  } = {}): Promise<Lab> {
    if (readlinkSync("/proc/self/ns/net") === outside) {
      throw new Error("Lab would change this machine's network; start it with: bun test/run.ts");
    }
    await run(["ip", "link", "set", "lo", "up"]);
    const arrived = (address: string, atMs: number): void => lab.#arrived(address, atMs);
    const socket = await Bun.udpSocket({
      hostname: "0.0.0.0",
      socket: { data: (_socket, _data, _port, address) => arrived(address, performance.now()) },
    });
    const lab = new Lab(socket, isUserspace);
    return lab;
  }

  private constructor(socket: Bun.udp.Socket<"buffer">, isUserspace: boolean) {
    this.#socket = socket;
    this.isUserspace = isUserspace;
  }

  /** Creates a WireGuard device of the gateway with a new key, and sets it up. */
  async device(name: string, options: { port: number }): Promise<LabDevice> {
    const number = 1 + (devices++ % 60);
    const keys = newKeys();
    const inner = `10.${60 + number}`;
    this.#interfaces.add(name);
    if (this.isUserspace) {
      Bun.spawn(["setpriv", "--pdeathsig", "KILL", "wireguard-go", "-f", name], {
        stdio: ["ignore", "ignore", "ignore"],
      });
      await run(["bash", "-c", waitForUserspace(name)]);
    }
    await run(
      ["ip", "-batch", "-"],
      lines(
        ...(this.isUserspace ? [] : [`link add ${name} type wireguard`]),
        `addr add ${inner}.0.1/16 dev ${name}`,
        `addr add fd00:${number}::1/64 dev ${name} nodad`,
        `link set ${name} up`,
        // Each client uses a different gateway address, so that clients in one namespace have different routes.
        `route add local ${inner}.128.0/17 dev lo`,
      ),
    );
    await run(
      ["wg", "setconf", name, "/dev/stdin"],
      lines("[Interface]", `PrivateKey = ${keys.privateKey}`, `ListenPort = ${options.port}`),
    );
    return new LabDevice(this, { name, number, keys, port: options.port });
  }

  /** Adds the simple rule that administrators write by hand: logs every datagram to the port. */
  async addPlainRule(port: number, group: number): Promise<void> {
    await this.#addRules(`udp dport ${port} log group ${group} snaplen 65535`);
  }

  /** Adds rules that log only handshake initiations and the first data message of each session. */
  async addHandshakeRules(port: number, group: number): Promise<void> {
    const log = `log group ${group} snaplen 192`;
    await this.#addRules(
      `udp dport ${port} @th,64,32 0x01000000 ${log}`,
      `udp dport ${port} @th,64,32 0x04000000 @th,128,64 0 ${log}`,
    );
  }

  async #addRules(...rules: readonly string[]): Promise<void> {
    await run(
      ["nft", "-f", "-"],
      lines(
        `add table ${TABLE}`,
        `add chain ${TABLE} input { type filter hook input priority 0; }`,
        ...rules.map((rule) => `add rule ${TABLE} input ${rule}`),
      ),
    );
  }

  async clearRules(): Promise<void> {
    await run(["nft", "-f", "-"], lines(`add table ${TABLE}`, `delete table ${TABLE}`));
  }

  /** Port of the gateway's UDP socket that receives the datagrams from all tunnels. */
  get innerPort(): number {
    return this.#socket.port;
  }

  sendDatagram(innerAddress: string): void {
    this.#socket.send("x", this.#socket.port, innerAddress);
  }

  /** Calls `listener` for each datagram from a tunnel. Returns a function that removes the listener. */
  onTunnelDatagram(listener: (arrival: Arrival) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  #arrived(address: string, atMs: number): void {
    const client = this.#clients.findLast((each) => each.innerAddress === address);
    if (client === undefined) return;
    for (const listener of this.#listeners) listener({ client, atMs });
  }

  /** For LabDevice: creates the links of new clients, in one batch. */
  async connect(wanted: readonly ClientOptions[]): Promise<Link[]> {
    const made: Link[] = [];
    const all = wanted.map((options) => {
      if (options.sharesLinkWith !== undefined) return options.sharesLinkWith.link;
      if (options.ownNamespace === true) this.#namespaces.push(new Namespace());
      const link = new Link(this.#namespaces.at(options.ownNamespace === true ? -1 : 0)!, options);
      made.push(link);
      return link;
    });
    for (const namespace of this.#namespaces) await namespace.started;
    await run(["ip", "-batch", "-"], lines(...made.flatMap((link) => link.gatewayCommands())));
    for (const [namespace, links] of Map.groupBy(made, (link) => link.namespace)) {
      const commands = links.flatMap((link) => link.clientCommands());
      await namespace.run(hereDocument("ip -batch -", lines(...commands)));
    }
    await Promise.all(made.filter((link) => link.isDelayed).map((link) => link.shape(0)));
    return all;
  }

  /** For LabDevice. */
  adopt(client: Client): void {
    this.#clients.push(client);
  }

  /** For LabDevice. */
  forget(name: string): void {
    this.#interfaces.delete(name);
  }

  [Symbol.dispose](): void {
    this.#socket.close();
    for (const namespace of this.#namespaces) namespace[Symbol.dispose]();
    const gone = [...this.#interfaces].map((name) => `link delete ${name}`);
    // Some may not exist any more, or were never created: -force continues after errors.
    Bun.spawnSync(["ip", "-force", "-batch", "-"], { stdin: Buffer.from(lines(...gone)) });
    Bun.spawnSync(["nft", "-f", "-"], {
      stdin: Buffer.from(lines(`add table ${TABLE}`, `delete table ${TABLE}`)),
    });
  }
}

interface DeviceFacts {
  readonly name: string;
  readonly number: number;
  readonly keys: KeyPair;
  readonly port: number;
}

export class LabDevice {
  readonly #lab: Lab;
  readonly #facts: DeviceFacts;
  #hosts = 1;

  constructor(lab: Lab, facts: DeviceFacts) {
    this.#lab = lab;
    this.#facts = facts;
  }

  get name(): string {
    return this.#facts.name;
  }

  get publicKey(): string {
    return this.#facts.keys.publicKey;
  }

  get port(): number {
    return this.#facts.port;
  }

  async client(name: string, options: ClientOptions = {}): Promise<Client> {
    const [client] = await this.clients([name], options);
    return client!;
  }

  /** Creates many clients in one batch, which is much faster than one at a time. */
  async clients(names: readonly string[], options: ClientOptions = {}): Promise<Client[]> {
    const networkLinks = await this.#lab.connect(names.map(() => options));
    const made = names.map((name, i) => {
      const host = ++this.#hosts;
      return new Client(this.#lab, this.#facts, networkLinks[i]!, name, host, options);
    });
    for (const client of made) this.#lab.adopt(client);
    await this.#add(made.map((client) => client.gatewayConfiguration()));
    for (const [namespace, group] of Map.groupBy(made, (client) => client.link.namespace)) {
      for (const client of group) await namespace.run(client.deviceCommand());
      const commands = group.flatMap((client) => client.interfaceCommands());
      await namespace.run(hereDocument("ip -batch -", lines(...commands)));
      // wg(8) configures one device per process: the processes run in parallel.
      const started = group.map((client) => client.configureCommand(" & jobs+=($!)"));
      const finished =
        'failed=0; for job in "${jobs[@]}"; do wait $job || failed=1; done; jobs=(); [ $failed = 0 ]';
      await namespace.run(lines(...started, finished));
    }
    return made;
  }

  /** Configures peers that never connect. */
  async addSilentPeers(count: number): Promise<void> {
    const { number } = this.#facts;
    const configurations = Array.from({ length: count }, () => {
      const host = ++this.#hosts;
      const allowed = `10.${60 + number}.${host >> 8}.${host & 255}/32`;
      return lines(
        "[Peer]",
        `PublicKey = ${randomBytes(32).toString("base64")}`,
        `AllowedIPs = ${allowed}`,
      );
    });
    await this.#add(configurations);
  }

  async #add(configurations: readonly string[]): Promise<void> {
    await run(["wg", "addconf", this.name, "/dev/stdin"], configurations.join(""));
  }

  async removePeer(client: Client): Promise<void> {
    await run(["wg", "set", this.name, "peer", client.publicKey, "remove"]);
  }

  /** Adds the peer again, without a session. */
  async restorePeer(client: Client): Promise<void> {
    await this.#add([client.gatewayConfiguration()]);
  }

  /** Sends one datagram from the gateway to the client, through the tunnel. */
  sendTo(client: Client): void {
    this.#lab.sendDatagram(client.innerAddress);
  }

  async state(client: Client): Promise<PeerState> {
    const dump = await run(["wg", "show", this.name, "dump"]);
    const fields = dump
      .split("\n")
      .map((line) => line.split("\t"))
      .find(([key]) => key === client.publicKey);
    if (fields === undefined) throw new Error(`${this.name} has no peer ${client.name}`);
    const [, , endpoint, , handshake, rx, tx] = fields;
    return {
      endpoint: endpoint === "(none)" ? null : endpoint!,
      latestHandshakeSeconds: handshake === "0" ? null : Number(handshake),
      rxBytes: Number(rx),
      txBytes: Number(tx),
    };
  }

  async delete(): Promise<void> {
    this.#lab.forget(this.name);
    await run(["ip", "link", "delete", this.name]);
  }
}

/** A pair of network interfaces, one at the gateway and one at the clients, with their addresses. */
class Link {
  readonly namespace: Namespace;
  readonly family: 4 | 6;
  /** The gateway's end. */
  readonly name: string;
  /** The interface that has the addresses: the VLAN interface if the link has a VLAN. */
  readonly gatewayInterface: string;
  readonly clientInterface: string;
  readonly #number = ++links;
  readonly #vlan: number | undefined;
  readonly #roundTripMs: number;
  #host = 2;

  constructor(namespace: Namespace, options: ClientOptions) {
    this.namespace = namespace;
    this.family = options.family ?? 4;
    this.name = `lab${this.#number}`;
    this.#vlan = options.vlan;
    this.#roundTripMs = options.roundTripMs ?? 0;
    const suffix = options.vlan === undefined ? "" : `.${options.vlan}`;
    this.gatewayInterface = this.name + suffix;
    this.clientInterface = `eth${this.#number}${suffix}`;
  }

  /** The nft table for rules of this link. */
  get table(): string {
    return `inet ${this.name}`;
  }

  get #parent(): string {
    return `eth${this.#number}`;
  }

  get gatewayAddress(): string {
    return this.#address(1);
  }

  get clientAddress(): string {
    return this.#address(this.#host);
  }

  gatewayCommands(): string[] {
    const { name, gatewayInterface } = this;
    return [
      `link add ${name} type veth peer name ${this.#parent} netns ${this.namespace.pid}`,
      `link set ${name} up`,
      ...this.#tagged(name, gatewayInterface),
      `addr add ${this.#prefixed(1)} dev ${gatewayInterface}`,
    ];
  }

  clientCommands(): string[] {
    return [
      `link set ${this.#parent} up`,
      ...this.#tagged(this.#parent, this.clientInterface),
      `addr add ${this.#prefixed(this.#host)} dev ${this.clientInterface}`,
    ];
  }

  /** Changes the client's outer address. */
  async readdress(): Promise<void> {
    const old = this.#prefixed(this.#host++);
    const device = `dev ${this.clientInterface}`;
    await this.namespace.run(
      `ip addr del ${old} ${device} && ip addr add ${this.#prefixed(this.#host)} ${device}`,
    );
  }

  /** Sets the delay of the link and the packet loss, in both directions. */
  async shape(lossPercent: 0 | 100): Promise<void> {
    const delayMs = this.#roundTripMs / 2;
    if (delayMs === 0 && lossPercent === 0) {
      await run(["tc", "qdisc", "del", "dev", this.name, "root"]);
      await this.namespace.run(`tc qdisc del dev ${this.#parent} root`);
      return;
    }
    const netem = ["root", "netem", "delay", `${delayMs}ms`, "loss", `${lossPercent}%`];
    await run(["tc", "qdisc", "replace", "dev", this.name, ...netem]);
    await this.namespace.run(`tc qdisc replace dev ${this.#parent} ${netem.join(" ")}`);
  }

  get isDelayed(): boolean {
    return this.#roundTripMs > 0;
  }

  #tagged(parent: string, name: string): string[] {
    if (this.#vlan === undefined) return [];
    return [
      `link add link ${parent} name ${name} type vlan id ${this.#vlan}`,
      `link set ${name} up`,
    ];
  }

  #address(host: number): string {
    const [high, low] = [this.#number >> 8, this.#number & 255];
    return this.family === 4
      ? `10.${128 + high}.${low}.${host}`
      : `fd80:0:0:${this.#number}::${host}`;
  }

  #prefixed(host: number): string {
    return this.family === 4 ? `${this.#address(host)}/24` : `${this.#address(host)}/64 nodad`;
  }
}

export class Client {
  readonly name: string;
  readonly link: Link;
  readonly #lab: Lab;
  readonly #device: DeviceFacts;
  readonly #options: ClientOptions;
  readonly #keys: KeyPair;
  /** Unique among the clients of the device. */
  readonly #number: number;
  /** The last part of the inner address; the same as that of `sharesKeyWith`. */
  readonly #host: number;
  readonly #interface: string;
  readonly #gatewayPresharedKey: string | null;
  readonly #ownPresharedKey: string | null;
  #port: number;

  constructor(
    lab: Lab,
    device: DeviceFacts,
    link: Link,
    name: string,
    number: number,
    options: ClientOptions,
  ) {
    this.#lab = lab;
    this.#device = device;
    this.link = link;
    this.name = name;
    this.#options = options;
    const twin = options.sharesKeyWith;
    this.#keys = twin === undefined ? newKeys() : twin.#keys;
    this.#number = number;
    this.#host = twin === undefined ? number : twin.#host;
    this.#interface = `tunnel${device.number}-${number}`;
    this.#port = options.outerPort ?? ++ports;
    const { presharedKey = false, wrongPresharedKey = false } = options;
    const fresh = (): string => randomBytes(32).toString("base64");
    if (twin !== undefined) this.#gatewayPresharedKey = twin.#gatewayPresharedKey;
    else this.#gatewayPresharedKey = presharedKey || wrongPresharedKey ? fresh() : null;
    this.#ownPresharedKey = wrongPresharedKey ? fresh() : this.#gatewayPresharedKey;
  }

  get publicKey(): string {
    return this.#keys.publicKey;
  }

  /** Source of the client's outer datagrams, in the format of wg(8). */
  get endpoint(): string {
    return endpointText(this.link.clientAddress, this.#port);
  }

  get innerAddress(): string {
    return `10.${60 + this.#device.number}.${this.#host >> 8}.${this.#host & 255}`;
  }

  /** The gateway's inner address for this client. */
  get innerGateway(): string {
    return `10.${60 + this.#device.number}.${128 + (this.#number >> 8)}.${this.#number & 255}`;
  }

  get allowedIps(): readonly string[] {
    return [`${this.innerAddress}/32`, `${this.#inner6}/128`];
  }

  get #inner6(): string {
    return `fd00:${this.#device.number}::${this.#host.toString(16)}`;
  }

  /** For LabDevice: the [Peer] section of the gateway. */
  gatewayConfiguration(): string {
    return lines(
      "[Peer]",
      `PublicKey = ${this.publicKey}`,
      `AllowedIPs = ${this.allowedIps.join(", ")}`,
      ...presharedKeyLine(this.#gatewayPresharedKey),
      ...(this.#options.endpointKnown === true ? [`Endpoint = ${this.endpoint}`] : []),
    );
  }

  /** For LabDevice: the shell command that starts the program of a userspace device. */
  deviceCommand(): string {
    if (!this.#lab.isUserspace) return "true";
    const program = `setpriv --pdeathsig KILL wireguard-go -f ${this.#interface}`;
    return `${program} </dev/null >/dev/null 2>&1 & ${waitForUserspace(this.#interface)}`;
  }

  /** For LabDevice: commands for ip(8) that create the client's device, or complete it. */
  interfaceCommands(): string[] {
    const tunnel = `dev ${this.#interface}`;
    return [
      ...(this.#lab.isUserspace ? [] : [`link add ${this.#interface} type wireguard`]),
      `addr add ${this.innerAddress}/32 ${tunnel}`,
      `addr add ${this.#inner6}/128 ${tunnel} nodad`,
      `link set ${this.#interface} up`,
      `route add ${this.innerGateway}/32 ${tunnel} src ${this.innerAddress}`,
    ];
  }

  /** For LabDevice: the shell command that configures the keys and the peer of the client's device. */
  configureCommand(after = ""): string {
    const { keepaliveSeconds } = this.#options;
    const inner = `10.${60 + this.#device.number}.0.0/16, fd00:${this.#device.number}::/64`;
    const configuration = lines(
      "[Interface]",
      `PrivateKey = ${this.#keys.privateKey}`,
      `ListenPort = ${this.#port}`,
      "[Peer]",
      `PublicKey = ${this.#device.keys.publicKey}`,
      `Endpoint = ${endpointText(this.link.gatewayAddress, this.#device.port)}`,
      `AllowedIPs = ${inner}`,
      ...presharedKeyLine(this.#ownPresharedKey),
      ...(keepaliveSeconds === undefined ? [] : [`PersistentKeepalive = ${keepaliveSeconds}`]),
    );
    return hereDocument(`wg setconf ${this.#interface} /dev/stdin`, configuration, after);
  }

  /**
   * Sends one datagram into the tunnel, within about a millisecond. WireGuard completes a handshake first if needed.
   */
  sendDatagram(): void {
    this.link.namespace.send(`echo >/dev/udp/${this.innerGateway}/${this.#lab.innerPort}\n`);
  }

  /** Sends one datagram and waits until the gateway has received it through the tunnel. */
  async connect(timeoutMs = REPORT_MS): Promise<Arrival> {
    const { promise, resolve, reject } = Promise.withResolvers<Arrival>();
    const timer = setTimeout(
      () => reject(new Error(`no datagram from ${this.name} within ${timeoutMs} ms`)),
      timeoutMs,
    );
    const removeListener = this.#lab.onTunnelDatagram((arrival) => {
      if (arrival.client.publicKey === this.publicKey) resolve(arrival);
    });
    this.sendDatagram();
    try {
      return await promise;
    } finally {
      clearTimeout(timer);
      removeListener();
    }
  }

  /** Resolves with the number of replies; without any, `waitSeconds` after the last ping. */
  async ping(count = 1, waitSeconds = 20): Promise<number> {
    const ping = [
      "ping",
      "-n",
      "-q",
      "-i",
      "0.2",
      "-W",
      String(waitSeconds),
      "-c",
      String(count),
      this.innerGateway,
    ];
    const text = await run(this.link.namespace.command(...ping), "", [0, 1]);
    return Number(/(\d+) received/.exec(text)?.[1] ?? 0);
  }

  /**
   * Changes to another outer port, address, or both, without sending anything: the gateway learns the endpoint from
   * the next datagram. Resolves with the new endpoint.
   */
  async roam(to: "port" | "address" | "both" = "port"): Promise<string> {
    const { namespace, clientInterface, table } = this.link;
    // A keepalive between the two changes would make the gateway see two roams.
    const block = `${table}_block`;
    const commands = lines(
      `add table ${block}`,
      `add chain ${block} output { type filter hook output priority 0; }`,
      `add rule ${block} output oifname ${clientInterface} drop`,
    );
    await namespace.run(hereDocument("nft -f -", commands));
    if (to !== "port") await this.link.readdress();
    if (to !== "address") {
      this.#port = ++ports;
      await namespace.run(`wg set ${this.#interface} listen-port ${this.#port}`);
    }
    await namespace.run(`nft delete table ${block}`);
    return this.endpoint;
  }

  /** The link stays up and loses all packets in both directions. */
  async dropLink(): Promise<void> {
    await this.link.shape(100);
  }

  async restoreLink(): Promise<void> {
    await this.link.shape(0);
  }

  /** Drops the first data message of each session on its way to the gateway. */
  async loseFirstDatagrams(): Promise<void> {
    const { namespace, clientInterface, table } = this.link;
    const first = `udp dport ${this.#device.port} @th,64,32 0x04000000 @th,128,64 0`;
    const commands = lines(
      `add table ${table}`,
      `add chain ${table} output { type filter hook output priority 0; }`,
      `add rule ${table} output oifname ${clientInterface} ${first} drop`,
    );
    await namespace.run(hereDocument("nft -f -", commands));
  }

  async keepFirstDatagrams(): Promise<void> {
    await this.link.namespace.run(`nft delete table ${this.link.table}`);
  }

  /** Makes the client discard its session keys, so that the next datagram needs a handshake. */
  async forgetSession(): Promise<void> {
    await this.link.namespace.run(this.configureCommand());
  }

  /** Deletes the client's WireGuard device, without any message to the gateway. */
  async down(): Promise<void> {
    await this.link.namespace.run(`ip link delete ${this.#interface}`);
  }

  /** Runs a program in the client's namespace; resolves with its standard output. */
  async run(...command: readonly string[]): Promise<string> {
    return await run(this.link.namespace.command(...command));
  }
}

/** A network namespace for clients. It exists until its shells end, which happens at the latest with this process. */
class Namespace implements Disposable {
  readonly #commands = new Shell(["unshare", "--net", "bash"]);
  /** A second shell for datagrams, so that none waits until a command has finished. */
  #sender: Shell | null = null;
  readonly started: Promise<void>;

  constructor() {
    this.started = this.#start();
  }

  async #start(): Promise<void> {
    // Until its port is configured, a device has a port that the kernel chooses: it must not be that of a client.
    await this.#commands.run(
      "ip link set lo up && echo 60000 60999 >/proc/sys/net/ipv4/ip_local_port_range",
    );
    this.#sender = new Shell(this.command("bash"));
    await this.#sender.run("true");
  }

  get pid(): number {
    return this.#commands.pid;
  }

  /** Runs a shell script. @throws if its exit status is not 0. */
  async run(script: string): Promise<void> {
    await this.#commands.run(script);
  }

  send(script: string): void {
    this.#sender!.write(script);
  }

  /** The command that runs `command` in this namespace. */
  command(...command: readonly string[]): readonly string[] {
    return ["nsenter", "--target", String(this.pid), "--net", ...command];
  }

  [Symbol.dispose](): void {
    this.#sender?.[Symbol.dispose]();
    this.#commands[Symbol.dispose]();
  }
}

/** A shell that takes commands on its standard input. */
class Shell implements Disposable {
  readonly #process: Bun.Subprocess<"pipe", "pipe", "inherit">;
  readonly #waiting: ((answer: { text: string; exitCode: number }) => void)[] = [];
  #ended = false;

  constructor(command: readonly string[]) {
    this.#process = Bun.spawn([...command], { stdin: "pipe", stdout: "pipe", stderr: "inherit" });
    void this.#read();
  }

  get pid(): number {
    return this.#process.pid;
  }

  /** Writes to standard input without waiting for the result. */
  write(text: string): void {
    void this.#process.stdin.write(text);
    void this.#process.stdin.flush();
  }

  async run(script: string): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<{ text: string; exitCode: number }>();
    if (this.#ended) throw new Error(`the shell has ended; cannot run: ${script}`);
    this.#waiting.push(resolve);
    this.write(`{ ${script}\n} 2>&1; printf '\\001%d\\001' $?\n`);
    const { text, exitCode } = await promise;
    if (exitCode !== 0) throw new Error(`${script}: exit status ${exitCode}: ${text.trim()}`);
  }

  async #read(): Promise<void> {
    const decoder = new TextDecoder();
    let text = "";
    for await (const chunk of this.#process.stdout) {
      text += decoder.decode(chunk, { stream: true });
      for (let parts = text.split("\u0001"); parts.length >= 3; parts = text.split("\u0001")) {
        this.#waiting.shift()?.({ text: parts[0]!, exitCode: Number(parts[1]) });
        text = parts.slice(2).join("\u0001");
      }
    }
    this.#ended = true;
    for (const resolve of this.#waiting)
      resolve({ text: `${text} (the shell ended)`, exitCode: 255 });
  }

  [Symbol.dispose](): void {
    this.#process.kill("SIGKILL");
  }
}

function presharedKeyLine(key: string | null): string[] {
  return key === null ? [] : [`PresharedKey = ${key}`];
}

function endpointText(address: string, port: number): string {
  return address.includes(":") ? `[${address}]:${port}` : `${address}:${port}`;
}

function lines(...each: readonly string[]): string {
  return `${each.join("\n")}\n`;
}

function hereDocument(command: string, input: string, after = ""): string {
  return `${command} <<'END'${after}\n${input}END`;
}

async function run(
  command: readonly string[],
  input = "",
  expected: readonly number[] = [0],
): Promise<string> {
  const child = Bun.spawn([...command], {
    stdin: Buffer.from(input),
    stdout: "pipe",
    stderr: "pipe",
  });
  const [output, complaint, exitCode] = await Promise.all([
    new Response(child.stdout).text(),
    new Response(child.stderr).text(),
    child.exited,
  ]);
  if (!expected.includes(exitCode)) throw new Error(`${command.join(" ")}: ${complaint.trim()}`);
  return output;
}
