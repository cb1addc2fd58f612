/** `wgmon schema`: the JSON Schema of the settings file, or of events and digests. */

import type { SchemaName } from "../config/command-requests.ts";
import { configSchema } from "../config/json-schema.ts";
import { DigestSchema, EventSchema } from "../events/event-schema.ts";

/** With a newline at the end. */
export function schemaText(name: SchemaName): string {
  return `${JSON.stringify(name === "config" ? configSchema() : eventSchema(), null, 2)}\n`;
}

/** What a webhook of the format json receives: an event, or several as a digest. */
function eventSchema(): unknown {
  return {
    $schema: "http://json-schema.org/draft-07/schema#",
    title: "wgmon event or digest",
    oneOf: [EventSchema, DigestSchema],
  };
}
