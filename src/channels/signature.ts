/**
 * Signatures of Standard Webhooks (www.standardwebhooks.com, the symmetric scheme v1): HMAC-SHA256 over
 * `id.timestamp.body`. Each secret adds a signature, so that a receiver can change its secret without losing
 * events. Pure.
 */

/** The standard's limits, in bytes. */
const SECRET_MIN = 24;
const SECRET_MAX = 64;

/** Maximum difference between the clocks of sender and receiver, as in the standard's own libraries. */
const TOLERANCE_MS = 5 * 60_000;

const HOW_TO_CREATE = 'make one with: echo "whsec_$(openssl rand -base64 32)"';

/** The signed parts of a request. */
interface Signed {
  readonly id: string;
  /** Seconds since 1970, in decimal digits. */
  readonly timestamp: string;
  readonly body: Uint8Array;
}

/** The key of a signature. It can be used but not read. */
export class SigningSecret {
  readonly #key: Uint8Array;

  constructor(key: Uint8Array) {
    this.#key = key.slice();
  }

  /** Returns one signature of the header webhook-signature. */
  sign({ id, timestamp, body }: Signed): string {
    const hmac = new Bun.CryptoHasher("sha256", this.#key);
    return `v1,${hmac.update(`${id}.${timestamp}.`).update(body).digest("base64")}`;
  }

  toString(): string {
    return "(hidden)";
  }

  toJSON(): string {
    return "(hidden)";
  }

  [Symbol.for("nodejs.util.inspect.custom")](): string {
    return "(hidden)";
  }
}

/** Returns the value of the header webhook-signature. */
export function sign(secrets: readonly SigningSecret[], signed: Signed): string {
  return secrets.map((secret) => secret.sign(signed)).join(" ");
}

/**
 * Parses a secret file: one secret per line; blank lines and lines that begin with # are ignored. `problem` is
 * worded to follow "the file", and quotes nothing from the file.
 */
export function parseSecrets(
  text: string,
): { readonly value: readonly SigningSecret[] } | { readonly problem: string } {
  const secrets: SigningSecret[] = [];
  for (const [index, line] of text.split("\n").entries()) {
    const secret = line.trim();
    if (secret === "" || secret.startsWith("#")) continue;
    const key = decode(secret.replace(/^whsec_/, ""));
    const problem = key === null ? "text that is not base64" : sizeProblem(key);
    if (key === null || problem !== null) {
      return { problem: `has ${problem} in line ${index + 1}; ${HOW_TO_CREATE}` };
    }
    secrets.push(new SigningSecret(key));
  }
  if (secrets.length === 0) return { problem: `contains no secret; ${HOW_TO_CREATE}` };
  return { value: secrets };
}

function sizeProblem({ length }: Uint8Array): string | null {
  if (length < SECRET_MIN) return `a secret that is too short (less than ${SECRET_MIN} bytes)`;
  if (length > SECRET_MAX) return `a secret that is too long (more than ${SECRET_MAX} bytes)`;
  return null;
}

/** null: the text is not base64. The `=` at the end may be missing. */
function decode(text: string): Uint8Array | null {
  // fromBase64 ignores spaces, but two secrets on one line are an error.
  if (/\s/.test(text)) return null;
  const padded = text.padEnd(Math.ceil(text.length / 4) * 4, "=");
  try {
    return Uint8Array.fromBase64(padded, { lastChunkHandling: "strict" });
  } catch {
    return null;
  }
}

type Verification =
  | "ok"
  | "webhook-id is missing"
  | "webhook-timestamp is missing"
  | "webhook-timestamp is not a number of seconds"
  | "webhook-timestamp is more than 5 minutes ago"
  | "webhook-timestamp is more than 5 minutes ahead"
  | "webhook-signature is missing"
  | "no signature matches any of the secrets";

/** Checks that a message is from a sender with one of the secrets. A header that is null is missing. */
export function verify(
  secrets: readonly SigningSecret[],
  headers: {
    readonly id: string | null;
    readonly timestamp: string | null;
    readonly signature: string | null;
  },
  body: Uint8Array,
  nowMs: number,
): Verification {
  const { id, timestamp, signature } = headers;
  if (id === null || id === "") return "webhook-id is missing";
  if (timestamp === null) return "webhook-timestamp is missing";
  // With a dot in the timestamp, the end of the id would be ambiguous.
  if (!/^\d{1,12}$/.test(timestamp)) return "webhook-timestamp is not a number of seconds";
  if (signature === null) return "webhook-signature is missing";
  const aheadMs = Number(timestamp) * 1000 - nowMs;
  if (aheadMs < -TOLERANCE_MS) return "webhook-timestamp is more than 5 minutes ago";
  if (aheadMs > TOLERANCE_MS) return "webhook-timestamp is more than 5 minutes ahead";
  const expected = secrets.map((secret) => secret.sign({ id, timestamp, body }));
  const isSigned = signature.split(" ").some((entry) => expected.some((one) => isSame(one, entry)));
  return isSigned ? "ok" : "no signature matches any of the secrets";
}

/** Compares in constant time. */
function isSame(expected: string, found: string): boolean {
  const [a, b] = [Buffer.from(expected), Buffer.from(found)];
  return a.length === b.length && crypto.timingSafeEqual(a, b);
}
