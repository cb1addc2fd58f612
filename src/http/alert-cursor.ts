/** The cursor that marks a position in a list of alerts. Pure. */

/** `current`: after this many of the alerts that fire or are pending. `past`: after this alert that is over. */
export type AlertCursor =
  | { readonly type: "current"; readonly skip: number }
  | { readonly type: "past"; readonly firedAtMs: number; readonly id: string };

export function formatAlertCursor(cursor: AlertCursor): string {
  const values = cursor.type === "current" ? [cursor.skip] : [cursor.firedAtMs, cursor.id];
  return Buffer.from(JSON.stringify(values)).toString("base64url");
}

/** Returns null if the text is not a cursor. */
export function parseAlertCursor(text: string): AlertCursor | null {
  let parsed: unknown;
  try {
    parsed = JSON.parse(Buffer.from(text, "base64url").toString());
  } catch {
    return null;
  }
  if (!Array.isArray(parsed)) return null;
  const [position, id, ...rest] = parsed as unknown[];
  if (!Number.isSafeInteger(position) || (position as number) < 0 || rest.length > 0) return null;
  if (id === undefined) return { type: "current", skip: position as number };
  return typeof id === "string" ? { type: "past", firedAtMs: position as number, id } : null;
}
