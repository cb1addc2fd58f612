/**
 * A server in operator mode, where users are credentials files: what the commands of nsc make, which is not a package of
 * Debian. The permissions of gateways are in one signing key, as a template with the user's name.
 * https://docs.nats.io/running-a-nats-service/configuration/securing_nats/auth_intro/jwt
 */

import { nkeys } from "@nats-io/transport-node";

import type { NatsLogin } from "../../src/fleet/nats-url.ts";
import { gatewayPermissions } from "../../src/hub/nats-setup.ts";
import { NatsServer } from "./nats.ts";

type KeyPair = ReturnType<typeof nkeys.createUser>;

export interface OperatorServer extends AsyncDisposable {
  readonly server: NatsServer;
  login(user: string): NatsLogin;
}

/** @param hub The user with all permissions; the other users are gateways. */
export async function operatorServer(
  program: string,
  hub: string,
  gateways: readonly string[],
): Promise<OperatorServer> {
  const operator = nkeys.createOperator();
  const account = nkeys.createAccount();
  const system = nkeys.createAccount();
  const signer = nkeys.createAccount();
  const { publish, subscribe } = gatewayPermissions("{{name()}}");
  const limits = { subs: -1, data: -1, payload: -1, conn: -1, leaf: -1, imports: -1, exports: -1 };
  const storage = { mem_storage: -1, disk_storage: -1, streams: -1, consumer: -1 };
  const scope = {
    kind: "user_scope",
    key: signer.getPublicKey(),
    role: "gateway",
    template: {
      pub: { allow: publish },
      sub: { allow: subscribe },
      subs: -1,
      data: -1,
      payload: -1,
    },
  };
  const operatorJwt = jwt(operator, operator, "fleet", {
    type: "operator",
    system_account: system.getPublicKey(),
  });
  const accountJwt = jwt(operator, account, "WGMON", {
    type: "account",
    limits: { ...limits, ...storage, wildcards: true },
    signing_keys: [scope],
  });
  const systemJwt = jwt(operator, system, "SYS", {
    type: "account",
    limits: { ...limits, wildcards: true },
  });

  const credentials = new Map<string, string>();
  const issuer_account = account.getPublicKey();
  for (const name of gateways) {
    const user = nkeys.createUser();
    credentials.set(name, file(user, jwt(signer, user, name, { type: "user", issuer_account })));
  }
  const hubUser = nkeys.createUser();
  const all = { type: "user", subs: -1, data: -1, payload: -1 };
  credentials.set(hub, file(hubUser, jwt(account, hubUser, hub, all)));

  const server = await NatsServer.start(
    program,
    ({ port, storeDir }) => `listen: "127.0.0.1:${port}"
operator: ${operatorJwt}
system_account: ${system.getPublicKey()}
resolver: MEMORY
resolver_preload {
  ${account.getPublicKey()}: ${accountJwt}
  ${system.getPublicKey()}: ${systemJwt}
}
jetstream { store_dir: "${storeDir}", sync_interval: always }
`,
  );
  return {
    server,
    login: (user) => ({
      servers: [server.address],
      user: null,
      password: null,
      isTls: false,
      credentials: credentials.get(user)!,
      ca: null,
    }),
    [Symbol.asyncDispose]: () => server[Symbol.asyncDispose](),
  };
}

function jwt(issuer: KeyPair, subject: KeyPair, name: string, claims: object): string {
  const payload = {
    jti: crypto.randomUUID(),
    iat: Math.floor(Date.now() / 1000),
    iss: issuer.getPublicKey(),
    name,
    sub: subject.getPublicKey(),
    nats: { version: 2, ...claims },
  };
  const parts = [{ typ: "JWT", alg: "ed25519-nkey" }, payload].map((part) =>
    Buffer.from(JSON.stringify(part)).toString("base64url"),
  );
  const text = parts.join(".");
  return `${text}.${Buffer.from(issuer.sign(Buffer.from(text))).toString("base64url")}`;
}

function file(user: KeyPair, token: string): string {
  const seed = new TextDecoder().decode(user.getSeed());
  return `-----BEGIN NATS USER JWT-----
${token}
------END NATS USER JWT------

-----BEGIN USER NKEY SEED-----
${seed}
------END USER NKEY SEED------
`;
}
