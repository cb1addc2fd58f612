import { generateKeyPairSync } from "node:crypto";

/** Keys of WireGuard in base64. */
export interface KeyPair {
  readonly privateKey: string;
  readonly publicKey: string;
}

export function newKeys(): KeyPair {
  const { d, x } = generateKeyPairSync("x25519").privateKey.export({ format: "jwk" });
  const base64 = (text: string): string => Buffer.from(text, "base64url").toString("base64");
  return { privateKey: base64(d!), publicKey: base64(x!) };
}
