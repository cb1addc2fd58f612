/** The settings of the HTTP server: address, tokens and TLS. Clients on other machines need a token. */

import {
  fileOrCredential,
  type NamedFile,
  readNamedFile,
  type ResolvedSettings,
  type Sources,
} from "./resolve.ts";

export interface ListenSettings {
  /** null: no TCP listener. */
  readonly listen: { readonly address: string; readonly port: number } | null;
  /** Secret. Empty: no token is required. */
  readonly listenTokens: readonly string[];
  /** Paths of PEM files; null: no TLS. */
  readonly listenTls: { readonly cert: string; readonly key: string } | null;
}

/** Minimum number of characters, so that a token cannot be guessed: 16 characters of base64 have 96 bits. */
const TOKEN_MIN = 16;

interface Context {
  readonly sources: Sources;
  readonly resolved: ResolvedSettings;
  readonly errors: string[];
  readonly warnings: string[];
}

export function readListen(context: Context): ListenSettings {
  const { resolved, errors, warnings } = context;
  const listen = resolved.values("listen")[0] ?? null;
  const file = tokenFile(context);
  const tokens = listen === null || file === null ? [] : readTokens(file, context);
  const [cert, key] = [resolved.values("listen-tls-cert")[0], resolved.values("listen-tls-key")[0]];
  if ((cert === undefined) !== (key === undefined)) {
    errors.push("listen-tls-cert and listen-tls-key: give both, or neither for no TLS");
  }
  if (listen === null) {
    for (const name of ["listen-token-file", "listen-tls-cert", "listen-tls-key"] as const) {
      const given = resolved.given(name);
      if (given !== null) warnings.push(`${given.where} has no effect without listen`);
    }
  } else if (!isLoopback(listen.address)) {
    if (file === null) {
      errors.push(
        `${resolved.given("listen")!.where}: other machines can connect to this address, so a token is required: give listen-token-file, or listen on 127.0.0.1`,
      );
    } else if (cert === undefined) {
      warnings.push("listen: without TLS, others on the network can read the token");
    }
  }
  const listenTls = cert === undefined || key === undefined ? null : { cert, key };
  return { listen, listenTokens: tokens, listenTls };
}

/** The token file: that of the setting, otherwise the credential of systemd; null: there is neither. */
function tokenFile(context: Context): NamedFile | null {
  const file = fileOrCredential("listen-token-file", "listen-token", context);
  if (file?.isOptional !== true) return file;
  return readNamedFile(context.sources, file, []) === null ? null : { ...file, isOptional: false };
}

/** One token per line. While the file contains the old and the new token, each client can change at any time. */
function readTokens(file: NamedFile, { sources, errors }: Context): readonly string[] {
  const text = readNamedFile(sources, file, errors);
  if (text === null) return [];
  const tokens = text
    .split("\n")
    .map((line) => line.trim())
    .filter((line) => line !== "" && !line.startsWith("#"));
  // A token must be valid in a header.
  const hasInvalid = tokens.some(
    (token) => !/^[\x21-\x7e]+$/.test(token) || token.length < TOKEN_MIN,
  );
  if (tokens.length === 0) errors.push(`${file.where}: there is no token in the file`);
  if (hasInvalid) {
    errors.push(
      `${file.where}: a token in the file is shorter than ${TOKEN_MIN} characters, or has characters that are not ASCII; make one with: openssl rand -base64 24`,
    );
  }
  return tokens;
}

/** Whether only this machine can connect to the address. */
export function isLoopback(address: string): boolean {
  return address === "localhost" || address === "::1" || /^127(?:\.\d{1,3}){3}$/.test(address);
}
