/**
 * Which proxy Bun's fetch uses for a request, for messages that name it. The environment decides, as for
 * curl; test/channels/proxy.test.ts compares this with the behaviour of fetch.
 */

type Env = Readonly<Record<string, string | undefined>>;

/** The proxy of a request; null: the request goes directly to the receiver. */
export interface Proxy {
  /**
   * `proxy.example.net:3128`; `of https_proxy` if the address cannot be split reliably. Never contains a part
   * of the user name or password.
   */
  readonly place: string;
  /** "": the host name is unknown. */
  readonly hostname: string;
}

const PORTS: Readonly<Record<string, string>> = { "http:": "80", "https:": "443" };

export function proxyFor(url: URL, env: Env = process.env): Proxy | null {
  const scheme = url.protocol.slice(0, -1);
  const own = [`${scheme}_proxy`, `${scheme}_proxy`.toUpperCase()].find((each) => env[each]);
  const shared = ["all_proxy", "ALL_PROXY"].find((each) => env[each]);
  const name = own ?? shared;
  if (name === undefined || isExcepted(url, env["no_proxy"] || env["NO_PROXY"] || "")) return null;
  const address = env[name]!;
  // If the scheme is not http or https, fetch rejects the protocol's own variable but ignores the shared one.
  if (own === undefined && /^\w+:\/\//.test(address) && !/^https?:/i.test(address)) return null;
  const proxy = URL.parse(
    address.includes("//") ? address.replace(/^\/\//, "http://") : `http://${address}`,
  );
  // A password with an unescaped "/", "?" or "#" ends the host for the parser, so the parsed host may be a part of
  // the user name or password. The "@" is then in what follows the host.
  if (proxy === null || `${proxy.pathname}${proxy.search}${proxy.hash}`.includes("@")) {
    return { place: `of ${name}`, hostname: "" };
  }
  const { hostname, protocol } = proxy;
  const port = proxy.port === "" ? PORTS[protocol] : proxy.port;
  return { place: port === undefined ? hostname : `${hostname}:${port}`, hostname };
}

/**
 * NO_PROXY: names including their subdomains, addresses, networks, or `*` for all; an entry with a port
 * matches only that port.
 */
function isExcepted({ hostname, port, protocol }: URL, list: string): boolean {
  const host = hostname.replace(/^\[|\]$/g, "");
  const family = familyOf(host);
  const wantedPort = port === "" ? PORTS[protocol] : port;
  return list.split(/[\s,]+/).some((entry) => {
    if (entry === "*") return true;
    const [, network, bits] = /^\[?([\d.a-f:]+)\]?\/(\d+)$/i.exec(entry) ?? [];
    if (network !== undefined) return isWithin(host, network, Number(bits));
    // The colons of an IPv6 address do not begin a port.
    const isBare = /:.*:/.test(entry) && !entry.startsWith("[");
    const [, name = "", onlyPort] = isBare
      ? ["", entry]
      : (/^(.*?)(?::(\d+))?$/.exec(entry.toLowerCase()) ?? []);
    if (onlyPort !== undefined && onlyPort !== wantedPort) return false;
    const suffix = name.replace(/^\*?\.|^\[|\]$/g, "");
    return suffix !== "" && (host === suffix || (family === null && host.endsWith(`.${suffix}`)));
  });
}

function isWithin(host: string, network: string, bits: number): boolean {
  const family = familyOf(network);
  if (family !== familyOf(host) || bits > (family === "ipv4" ? 32 : 128)) return false;
  // Loaded on demand, because it is rarely needed.
  const { BlockList, isIP } = require("node:net") as typeof import("node:net");
  if (family === null || isIP(network) === 0) return false;
  const block = new BlockList();
  block.addSubnet(network, bits, family);
  return block.check(host, family);
}

/** null: the host is a name. */
function familyOf(host: string): "ipv4" | "ipv6" | null {
  if (host.includes(":")) return "ipv6";
  return /^[\d.]+$/.test(host) ? "ipv4" : null;
}
