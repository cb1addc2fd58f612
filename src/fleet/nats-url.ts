/** Addresses of NATS servers in a setting: `nats://berlin:PASSWORD@nats1.example.net,nats2.example.net:4223`. Pure. */

export interface NatsAddress {
  /** `host:port` */
  readonly servers: readonly [string, ...string[]];
  /** Null: the credentials file has it. */
  readonly user: string | null;
  readonly password: string | null;
  /** Connections without TLS are allowed only to this machine. */
  readonly isTls: boolean;
}

/** All that is needed to connect. */
export interface NatsLogin extends NatsAddress {
  /** The content of a credentials file, which replaces user and password; null: user and password are used. */
  readonly credentials: string | null;
  /** Certificates in PEM; null: those of the system. */
  readonly ca: string | null;
}

const DEFAULT_PORT = 4222;

/** @returns why the text is not such an address, without parts that may be secret. */
export function parseNatsUrl(text: string): NatsAddress | { readonly error: string } {
  const [, scheme, login, hosts] = /^(nats|tls):\/\/(?:([^@]*)@)?([^@/?#]+)\/?$/.exec(text) ?? [];
  if (scheme === undefined || hosts === undefined) {
    return {
      error: "expected nats://USER:PASSWORD@HOST:PORT, with a comma between several HOST:PORT",
    };
  }
  const servers: string[] = [];
  let isLocal = true;
  for (const host of hosts.split(",")) {
    const url = URL.parse(`http://${host}`);
    // URL omits port 80.
    const port = /:(\d+)$/.exec(host)?.[1] ?? String(DEFAULT_PORT);
    if (url === null || url.hostname === "" || url.pathname !== "/" || Number(port) === 0) {
      return { error: "one of the servers is not HOST or HOST:PORT" };
    }
    servers.push(`${url.hostname}:${port}`);
    isLocal &&= url.hostname === "localhost" || /^(127(\.\d+){3}|\[::1\])$/.test(url.hostname);
  }
  const [first, ...more] = servers;
  const address = {
    servers: [first!, ...more],
    isTls: scheme === "tls" || !isLocal,
  } as const;
  if (login === undefined) return { ...address, user: null, password: null };
  const [, user, password] = /^([^:]+):(.+)$/.exec(login) ?? [];
  if (user === undefined || password === undefined) {
    return { error: "expected USER:PASSWORD before the @" };
  }
  try {
    return {
      ...address,
      user: decodeURIComponent(user),
      password: decodeURIComponent(password),
    };
  } catch {
    return { error: "a % in USER or PASSWORD must be written as %25" };
  }
}

/** The servers for messages: `nats://nats1.example.net:4222`. */
export function describeServers({
  servers,
  isTls,
}: Pick<NatsAddress, "servers" | "isTls">): string {
  return `${isTls ? "tls" : "nats"}://${servers.join(",")}`;
}
