/** Where wgmon serves HTTP, and who may use it. Clients on other machines need a token. */

import { type NamedFile, readNamedFile, type ResolvedSettings, type Sources } from "./resolve.ts";

export interface ListenSettings {
  /** null: no TCP listener. */
  readonly listen: { readonly address: string; readonly port: number } | null;
  /** Secret. Empty: no token is required. */
  readonly listenTokens: readonly string[];
  /** Paths of PEM files; null: no TLS. */
  readonly listenTls: { readonly cert: string; readonly key: string } | null;
}

/** Long enough that it cannot be guessed: 16 characters of base64 have 96 bits. */
const TOKEN_LEAST = 16;

interface Context {
  readonly sources: Sources;
  readonly chosen: ResolvedSettings;
  readonly errors: string[];
  readonly warnings: string[];
}

export function readListen(context: Context): ListenSettings {
  const { chosen, errors, warnings } = context;
  const listen = chosen.values("listen")[0] ?? null;
  const file = tokenFile(context);
  const tokens = listen === null || file === null ? [] : readTokens(file, context);
  const [cert, key] = [chosen.values("listen-tls-cert")[0], chosen.values("listen-tls-key")[0]];
  if ((cert === undefined) !== (key === undefined)) {
    errors.push("listen-tls-cert and listen-tls-key: give both, or neither for no TLS");
  }
  if (listen === null) {
    for (const name of ["listen-token-file", "listen-tls-cert", "listen-tls-key"] as const) {
      const given = chosen.given(name);
      if (given !== null) warnings.push(`${given.where} has no effect without listen`);
    }
  } else if (!isLoopback(listen.address)) {
    if (file === null) {
      errors.push(
        `${chosen.given("listen")!.where}: other machines can connect to this address, so a token is required: give listen-token-file, or listen on 127.0.0.1`,
      );
    } else if (cert === undefined) {
      warnings.push("listen: without TLS, others on the network can read the token");
    }
  }
  const listenTls = cert === undefined || key === undefined ? null : { cert, key };
  return { listen, listenTokens: tokens, listenTls };
}

/** The file that the setting names, or else the credential that systemd provides; null: there is neither. */
function tokenFile({ chosen, sources }: Context): NamedFile | null {
  const read = chosen.several("listen-token-file")[0];
  if (read !== undefined) return { path: read.value, where: read.where, isOptional: false };
  const folder = sources.env["CREDENTIALS_DIRECTORY"];
  if (folder === undefined || !folder.startsWith("/")) return null;
  const path = `${folder}/listen-token`;
  // Only reading it shows whether the credential exists.
  if (readNamedFile(sources, { path, where: "", isOptional: true }, []) === null) return null;
  return { path, where: "$CREDENTIALS_DIRECTORY/listen-token", isOptional: false };
}

/** One token per line. With old and new tokens side by side, clients can switch without a gap. */
function readTokens(file: NamedFile, { sources, errors }: Context): readonly string[] {
  const text = readNamedFile(sources, file, errors);
  if (text === null) return [];
  const tokens = text
    .split("\n")
    .map((line) => line.trim())
    .filter((line) => line !== "" && !line.startsWith("#"));
  // A token must be valid in a header.
  const isWrong = tokens.some(
    (token) => !/^[\x21-\x7e]+$/.test(token) || token.length < TOKEN_LEAST,
  );
  if (tokens.length === 0) errors.push(`${file.where}: there is no token in the file`);
  if (isWrong) {
    errors.push(
      `${file.where}: a token in the file is shorter than ${TOKEN_LEAST} characters, or has characters that are not ASCII; make one with: openssl rand -base64 24`,
    );
  }
  return tokens;
}

/** Whether only this machine can connect to the address. */
export function isLoopback(address: string): boolean {
  return address === "localhost" || address === "::1" || /^127(?:\.\d{1,3}){3}$/.test(address);
}
