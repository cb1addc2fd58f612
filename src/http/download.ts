/** Downloads of all sessions or events that a filter selects. Rows are read in slices, as fast as the client reads. */

import type { EventQuery, StoredEvent } from "../store/stored-events.ts";
import type { SessionCursor, SessionQuery } from "../store/stored-sessions.ts";
import { chunkedBody } from "./body-stream.ts";
import { csvLine, EVENT_COLUMNS, eventLine, SESSION_COLUMNS, sessionLine } from "./csv.ts";
import { HttpError } from "./problem.ts";
import type { ReadModel } from "./read-model.ts";
import type { Slots } from "./slots.ts";
import { viewEvent, viewSessions } from "./view.ts";

/** Most rows read without a pause; more would delay packets by milliseconds. */
const SLICE = 200;

export const downloadFormats = ["csv", "json"] as const;
type Format = (typeof downloadFormats)[number];

const types: Readonly<Record<Format, string>> = {
  csv: "text/csv; charset=utf-8; header=present",
  json: "application/json",
};

/** The responses of a route that returns downloads, as OpenAPI has them. @param row the name of the schema of a row. */
export function downloads(row: string) {
  const items = { $ref: `#/components/schemas/${row}` };
  return {
    200: {
      description: "success",
      content: {
        "text/csv": { schema: { type: "string", description: "RFC 4180, with a header" } },
        "application/json": { schema: { type: "array", items } },
      },
    },
  } as const;
}

interface Download {
  /** Without extension. */
  readonly name: string;
  readonly format: Format;
  readonly chunks: Iterator<string>;
  readonly slots: Slots;
  readonly onError: (error: unknown) => void;
}

/** @throws HttpError 503 if too many downloads are in progress. */
export function downloadResponse({ name, format, chunks, slots, onError }: Download): Response {
  const body = chunkedBody(chunks, slots, onError);
  if (body === null) {
    throw new HttpError(503, {
      detail: "too many downloads at once",
      headers: { "retry-after": "10" },
    });
  }
  return new Response(body, {
    headers: {
      "content-type": types[format],
      "content-disposition": `attachment; filename="${name}.${format}"`,
      "cache-control": "no-store",
    },
  });
}

/** All sessions that the query selects, the latest first. */
export function sessionChunks(
  source: ReadModel,
  query: Omit<SessionQuery, "from" | "limit">,
  format: Format,
): Iterator<string> {
  let from: SessionCursor | null = null;
  const read = () => {
    const rows = source.store.sessions.query({ ...query, from, limit: SLICE });
    from = rows.at(-1) ?? from;
    return viewSessions(source, rows);
  };
  const line = { csv: sessionLine, json: toJson }[format];
  return chunksOf(read, line, format, SESSION_COLUMNS);
}

/** All events that the query selects, as StoredEvent. */
export function eventChunks(
  source: ReadModel,
  query: Omit<EventQuery, "from" | "limit">,
  format: Format,
): Iterator<string> {
  let from: number | null = null;
  const read = () => {
    const rows = source.store.events.query({ ...query, from, limit: SLICE });
    from = rows.at(-1)?.seq ?? from;
    return rows;
  };
  const line = { csv: eventLine, json: (row: StoredEvent) => toJson(viewEvent(row)) }[format];
  return chunksOf(read, line, format, EVENT_COLUMNS);
}

/** A CSV with a header, or a JSON array with one row per line. */
function* chunksOf<Row>(
  read: () => readonly Row[],
  line: (row: Row) => string,
  format: Format,
  columns: readonly string[],
): Generator<string, void> {
  const isCsv = format === "csv";
  yield isCsv ? csvLine(columns) : "[";
  let separator = isCsv ? "" : "\n";
  for (;;) {
    const rows = read();
    if (rows.length > 0) yield separator + rows.map(line).join(isCsv ? "" : ",\n");
    if (!isCsv && rows.length > 0) separator = ",\n";
    if (rows.length < SLICE) break;
  }
  if (!isCsv) yield "\n]\n";
}

function toJson(row: unknown): string {
  return JSON.stringify(row);
}
