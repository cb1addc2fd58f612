/** Why a message was held back, in words. Pure. */

import { shortName } from "../base/text.ts";
import type { Suppression } from "./alert.ts";

/** One sentence, without a full stop. */
export function suppressionText(by: Suppression): string {
  switch (by.type) {
    case "silence":
      return by.comment === "" ? "silenced" : `silenced: ${by.comment}`;
    case "times":
      return "outside the times of the rule";
    case "device-down":
      return `${shortName(by.device)} does not exist: one message about all its peers is sent instead`;
    case "all-peers":
      return `all peers of ${shortName(by.device)} are silent: one message about all of them is sent instead`;
    case "away":
      return "wgmon did not watch, so it is unknown whether the alert still fires";
    case "scan-failed":
      return "the device cannot be read, so it is unknown whether the alert still fires";
    case "over-before-sent":
      return "the alert was over before it was sent";
  }
}
