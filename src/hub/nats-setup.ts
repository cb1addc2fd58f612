/**
 * What `wgmon hub init nats` and `wgmon hub enroll` print for NATS: the server's configuration, and the user of one
 * gateway. https://docs.nats.io/running-a-nats-service/configuration
 */

import {
  eventSubject,
  HUB_USER,
  inboxPrefix,
  replaySubject,
  stateSubject,
  STREAM,
} from "../fleet/nats-names.ts";

/** Older servers may store a message twice (nats-server#4320), and do not support the stream's settings. */
export const NATS_VERSION_MIN = "2.10";

/**
 * The smallest cost of bcrypt: the passwords are random, so that more would protect nothing, and the server computes it
 * for each connection. After its restart, that would be minutes for 1,000 gateways with the usual cost of 11.
 */
const BCRYPT_COST = 4;

export interface NatsUser {
  readonly user: string;
  readonly password: string;
}

/** A user with a random password, which has no characters with a meaning in URLs. */
export function newNatsUser(user: string): NatsUser {
  const bytes = crypto.getRandomValues(new Uint8Array(24));
  return { user, password: Buffer.from(bytes).toString("base64url") };
}

export interface ServerPlaces {
  /** Folder for the stream. */
  readonly storeDir: string;
  readonly listen: string;
  /** Null: without TLS, for tests on one machine. */
  readonly tls: { readonly certFile: string; readonly keyFile: string } | null;
}

export const defaultPlaces: ServerPlaces = {
  storeDir: "/var/lib/nats/jetstream",
  listen: "0.0.0.0:4222",
  tls: { certFile: "/etc/nats/server.crt", keyFile: "/etc/nats/server.key" },
};

/** A whole nats-server.conf. `users`: lines of `userLine`, that of the hub first. */
export function serverConfig(
  users: readonly string[],
  { storeDir, listen, tls }: ServerPlaces = defaultPlaces,
): string {
  return `# nats-server.conf for wgmon, for nats-server ${NATS_VERSION_MIN} or newer

listen: "${listen}"
${tls === null ? "" : `tls {\n  cert_file: "${tls.certFile}"\n  key_file: "${tls.keyFile}"\n}\n`}
jetstream {
  store_dir: "${storeDir}"
  # Each event is on the disk before it is acknowledged. With the default, the server writes every two minutes, and loses
  # acknowledged events if the machine fails.
  sync_interval: always
}

accounts {
  WGMON {
    # The hub creates the stream ${STREAM} when it starts.
    jetstream: enabled
    users: [
      # wgmon hub enroll NAME prints one line for each gateway. Then: nats-server --signal reload
${users.map((line) => `      ${line}\n`).join("")}    ]
  }
}
`;
}

/** The hub may do everything in its account. */
export async function hubUserLine({ user, password }: NatsUser): Promise<string> {
  return `{ user: "${user}", password: "${await hash(password)}" }`;
}

/**
 * The user of a gateway in the server's configuration. It may send its own messages, and receive the answers to them. It
 * has no access to the API of JetStream, so it can neither read the stream nor change it.
 */
export async function gatewayUserLine({ user, password }: NatsUser): Promise<string> {
  const { publish, subscribe } = gatewayPermissions(user);
  const list = (subjects: readonly string[]): string =>
    `[${subjects.map((subject) => `"${subject}"`).join(", ")}]`;
  return (
    `{ user: "${user}", password: "${await hash(password)}", permissions: ` +
    `{ publish: ${list(publish)}, subscribe: ${list(subscribe)} } }`
  );
}

export function gatewayPermissions(gateway: string): {
  readonly publish: readonly string[];
  readonly subscribe: readonly string[];
} {
  return {
    publish: [eventSubject(gateway), stateSubject(gateway), replaySubject(gateway)],
    subscribe: [`${inboxPrefix(gateway)}.>`],
  };
}

/** Commands for servers in operator mode, where users are credentials files. `{{name()}}` is the name of the user. */
export function nscCommands(gateway: string): string[] {
  const { publish, subscribe } = gatewayPermissions("{{name()}}");
  return [
    "nsc add account --name WGMON",
    "nsc edit account --name WGMON --js-disk-storage -1 --js-streams 2 --js-consumer -1",
    `nsc add user --account WGMON --name ${HUB_USER}`,
    "nsc edit signing-key --account WGMON --role gateway --sk generate " +
      `--allow-pub "${publish.join(",")}" --allow-sub "${subscribe.join(",")}"`,
    `nsc add user --account WGMON --name ${gateway} -K gateway`,
    `nsc generate creds --account WGMON --name ${gateway} > ${gateway}.creds`,
  ];
}

/** The value of the setting `hub` of a gateway, or `nats` of the hub. */
export function natsUrl({ user, password }: NatsUser, servers: readonly string[]): string {
  return `nats://${encodeURIComponent(user)}:${encodeURIComponent(password)}@${servers.join(",")}`;
}

/** What `wgmon hub init nats` prints: the server's configuration with the user of the hub, and the setting of the hub. */
export async function natsInit(servers: readonly string[]): Promise<string> {
  const hub = newNatsUser(HUB_USER);
  return `1. On the machine with NATS (Debian: apt-get install nats-server), /etc/nats-server.conf:

${indent(serverConfig([await hubUserLine(hub)]))}
   The user of nats-server must be able to write the store, and to read the key. Several servers: make a cluster of
   three, each with these accounts; the hub then keeps each event on all of them.
   A server in operator mode needs these commands instead of the accounts:

${indent(nscCommands("NAME").join("\n"))}

2. On the hub, in the file /etc/wgmon/nats, which only root can read (with nats_file = "/etc/wgmon/nats"):

${indent(natsUrl(hub, servers))}

   nats_ca = FILE, if the certificate of the server is not signed by an authority of the system.

3. For each gateway: wgmon hub enroll NAME
`;
}

/** What `wgmon hub enroll NAME` prints if the hub uses NATS. */
export async function natsEnrollment(gateway: string, servers: readonly string[]): Promise<string> {
  const user = newNatsUser(gateway);
  return `1. On the machine with NATS, below "users: [" in nats-server.conf; then nats-server --signal reload:

${indent(await gatewayUserLine(user))}

2. On the gateway, in its settings, or in the file that hub_file names:

${indent(`hub = "${natsUrl(user, servers)}"`)}
`;
}

function indent(text: string): string {
  return text.replaceAll(/^(?=.)/gm, "     ");
}

/** bcrypt with the prefix that all versions of nats-server know. */
async function hash(password: string): Promise<string> {
  const text = await Bun.password.hash(password, { algorithm: "bcrypt", cost: BCRYPT_COST });
  return text.replace(/^\$2[by]\$/, "$2a$");
}
