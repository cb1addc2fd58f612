/** The parameters of a webhook's URL. */

import { expect, test } from "bun:test";

import { unknownParameters } from "../../../src/channels/formats/url-query.ts";

test.each<[readonly string[], string]>([
  [[], "has an unknown parameter; it takes no parameters"],
  [["token"], "has an unknown parameter; known is token"],
  [["token", "priority"], "has an unknown parameter; known are token and priority"],
  [["a", "b", "c"], "has an unknown parameter; known are a, b and c"],
])("an unknown parameter is reported with the known ones: %j", (known, problem) => {
  expect(unknownParameters(new URL("https://x.example.net/?s3cret=1"), known)).toBe(problem);
  expect(unknownParameters(new URL("https://x.example.net/"), known)).toBeNull();
});
