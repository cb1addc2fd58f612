/** The cursor that marks a position in a list of sessions, in the API and on the page. Pure. */

import type { SessionCursor } from "../store/stored-sessions.ts";

export function formatSessionCursor({ startedAtMs, device, publicKey }: SessionCursor): string {
  return Buffer.from(JSON.stringify([startedAtMs, device, publicKey])).toString("base64url");
}

/** Returns null if the text is not a cursor. */
export function parseSessionCursor(text: string): SessionCursor | null {
  const parsed = fromJson(Buffer.from(text, "base64url").toString());
  if (!Array.isArray(parsed) || parsed.length !== 3) return null;
  const [startedAtMs, device, publicKey] = parsed as unknown[];
  if (!Number.isSafeInteger(startedAtMs)) return null;
  if (typeof device !== "string" || typeof publicKey !== "string") return null;
  return {
    startedAtMs: startedAtMs as number,
    device,
    publicKey: publicKey as SessionCursor["publicKey"],
  };
}

function fromJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}
