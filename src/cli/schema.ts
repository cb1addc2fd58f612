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
  const definition = (name: string) => ({ $ref: `#/definitions/${name}` });
  return {
    $schema: "http://json-schema.org/draft-07/schema#",
    title: "wgmon event or digest",
    oneOf: [definition("event"), definition("digest")],
    definitions: {
      event: withoutIds(EventSchema),
      digest: withoutIds(DigestSchema, (schema) =>
        schema.$id === EventSchema.$id ? definition("event") : schema,
      ),
    },
  };
}

/** A copy without `$id`, to which references would be relative. */
function withoutIds(
  schema: unknown,
  replace: (schema: { readonly $id?: unknown }) => unknown = (each) => each,
): unknown {
  const text = JSON.stringify(schema, (key, value: unknown) => {
    if (key === "$id") return undefined;
    return typeof value === "object" && value !== null ? replace(value) : value;
  });
  return JSON.parse(text) as unknown;
}
