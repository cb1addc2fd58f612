/**
 * Finds the proxy that Bun's fetch uses for a request, so that messages can name it. The environment variables are
 * those of curl; test/channels/proxy.test.ts compares this with the behaviour of fetch.
 */

type Env = Readonly<Record<string, string | undefined>>;

export interface Proxy {
  /**
   * Follows the word "proxy" in messages: `proxy.example.net:3128`, or `of https_proxy` if the host cannot be parsed
   * reliably. Never contains a part of the user name or password.
   */
  readonly label: string;
  /** "": the host name is unknown. */
  readonly hostname: string;
}

const PORTS: Readonly<Record<string, string>> = { "http:": "80", "https:": "443" };

/** The proxy of a request to the URL; null: the request goes directly to the receiver. */
export function proxyFor(url: URL, env: Env = process.env): Proxy | null {
  const scheme = url.protocol.slice(0, -1);
  const specific = [`${scheme}_proxy`, `${scheme}_proxy`.toUpperCase()].find((each) => env[each]);
  const general = ["all_proxy", "ALL_PROXY"].find((each) => env[each]);
  const name = specific ?? general;
  if (name === undefined || isExcluded(url, env["no_proxy"] || env["NO_PROXY"] || "")) return null;
  const address = env[name]!;
  // A proxy URL with another scheme than http and https: fetch fails if http_proxy or https_proxy has it, but
  // ignores all_proxy.
  if (specific === undefined && /^\w+:\/\//.test(address) && !/^https?:/i.test(address))
    return null;
  const proxy = URL.parse(
    address.includes("//") ? address.replace(/^\/\//, "http://") : `http://${address}`,
  );
  // A password with an unescaped "/", "?" or "#" ends the host for the parser, so the parsed host may be a part of
  // the user name or password. The "@" is then after the host.
  if (proxy === null || `${proxy.pathname}${proxy.search}${proxy.hash}`.includes("@")) {
    return { label: `of ${name}`, hostname: "" };
  }
  const { hostname, protocol } = proxy;
  const port = proxy.port === "" ? PORTS[protocol] : proxy.port;
  return { label: port === undefined ? hostname : `${hostname}:${port}`, hostname };
}

/**
 * Whether NO_PROXY excludes the host. Its entries are host names, which include their subdomains, addresses,
 * networks, or `*` for all hosts; an entry with a port matches only that port.
 */
function isExcluded({ hostname, port, protocol }: URL, list: string): boolean {
  const host = hostname.replace(/^\[|\]$/g, "");
  const family = familyOf(host);
  const wantedPort = port === "" ? PORTS[protocol] : port;
  return list.split(/[\s,]+/).some((entry) => {
    if (entry === "*") return true;
    const [, network, bits] = /^\[?([\d.a-f:]+)\]?\/(\d+)$/i.exec(entry) ?? [];
    if (network !== undefined) return isWithin(host, network, Number(bits));
    // An IPv6 address without brackets has no port.
    const isIpv6 = /:.*:/.test(entry) && !entry.startsWith("[");
    const [, name = "", onlyPort] = isIpv6
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
  // Load node:net on demand: few configurations have networks in NO_PROXY.
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
