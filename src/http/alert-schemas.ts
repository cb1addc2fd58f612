/** The schemas of the API's responses about alerts and silences, and of the body that adds a silence. */

import { type Static, Type as T } from "@sinclair/typebox";

import { RULE_DEFAULTS, type RuleKind, SEVERITIES } from "../alerts/rule.ts";
import { SILENCE_LIMITS } from "../alerts/silences.ts";
import {
  closed,
  DeviceName,
  Host,
  ONE_LINE,
  oneOf,
  orNull,
  PublicKeyText,
  Timestamp,
} from "./schemas.ts";

const KINDS = Object.keys(RULE_DEFAULTS) as RuleKind[];

export const RuleSchema = T.Object(
  {
    name: T.String(),
    kind: oneOf(KINDS),
    severity: oneOf(SEVERITIES),
    targets: T.Array(T.String(), { description: "empty: all targets that accept its events" }),
    dryRun: T.Boolean({ description: "its messages are only recorded" }),
  },
  { $id: "Rule", ...closed },
);

const SuppressionSchema = T.Object(
  {
    type: oneOf(
      ["silence", "times", "device-down", "all-peers", "away", "scan-failed", "over-before-sent"],
      "times: the rule's times do not include that time; device-down and all-peers: one message about the whole device is sent instead; away: wgmon did not watch; scan-failed: it could not read the device",
    ),
    silence: orNull(T.String(), "the id of the silence; null: another reason"),
    comment: orNull(T.String(), "the comment of the silence; null: another reason"),
    device: orNull(DeviceName, "device-down, all-peers: the device; null: another reason"),
    sentence: T.String({ description: "the reason for people" }),
  },
  { $id: "Suppression", ...closed },
);

const alertProperties = {
  id: orNull(T.String(), "null: it is pending, and gets an id when it fires"),
  rule: T.String({ description: "the name of its rule" }),
  kind: oneOf(KINDS, "the kind of its rule"),
  severity: oneOf(SEVERITIES),
  state: oneOf(
    ["pending", "firing", "recovering", "resolved"],
    "pending: its condition has not lasted long enough yet; recovering: it still fires, but its condition is no longer met",
  ),
  host: Host,
  device: orNull(DeviceName, "null: it is about a target"),
  peer: orNull(
    T.Object(
      {
        publicKey: PublicKeyText,
        name: orNull(T.String(), "null: the peer has no name"),
        tags: T.Array(T.String()),
      },
      closed,
    ),
    "null: it is not about a peer",
  ),
  target: orNull(T.String(), "the name of the target that it is about; null: another subject"),
  sentence: T.String({ description: "what happened, for people" }),
  since: T.String({ format: "date-time", description: "when its condition began" }),
  firedAt: orNull(Timestamp, "null: it is pending"),
  resolvedAt: orNull(Timestamp, "null: it is not resolved"),
  moment: T.Boolean({
    description: "a single moment, such as a change of settings: it is over when it has fired",
  }),
  sent: T.Boolean({ description: "whether a message about it was sent" }),
  accepted: orNull(
    T.Boolean(),
    "whether a target accepted a message about it; null: no message was sent, or it is no longer stored",
  ),
  heldBack: orNull(SuppressionSchema, "why its messages are held back now; null: they are not"),
  dryRun: T.Boolean({ description: "its rule has dry_run: its messages are only recorded" }),
};

export const AlertSchema = T.Object(alertProperties, { $id: "Alert", ...closed });

const DeliverySchema = T.Object(
  {
    target: T.String({ description: "the label of the target" }),
    state: oneOf(
      ["delivered", "waiting", "dead-letter", "unknown"],
      "unknown: the target is no longer in the settings",
    ),
    reason: orNull(T.String(), "why it became a dead letter, or why the latest attempt failed"),
  },
  closed,
);

const NoticeSchema = T.Object(
  {
    type: oneOf(["firing", "reminder", "resolved"]),
    at: Timestamp,
    sentence: T.String(),
    alerts: T.Array(T.String(), { description: "the ids of all alerts in the message" }),
    heldBack: orNull(SuppressionSchema, "why it was not sent; null: it was not held back"),
    dryRun: T.Boolean({ description: "not sent, because its rule has dry_run" }),
    event: orNull(
      T.Integer({ minimum: 1 }),
      "the sequence number of its event; null: it was not sent",
    ),
    deliveries: T.Array(DeliverySchema, { description: "the targets that it was queued for" }),
  },
  { $id: "Notice", ...closed },
);

export const AlertDetailSchema = T.Object(
  {
    ...alertProperties,
    ruleText: T.Array(T.String(), {
      description: "the rule in words; empty: it is no longer in the settings",
    }),
    notices: T.Array(NoticeSchema, {
      description: "the messages about it, sent or held back, the oldest first",
    }),
  },
  { $id: "AlertDetail", ...closed },
);

export const SilenceSchema = T.Object(
  {
    id: T.String(),
    matchers: T.Array(T.String(), {
      description: "`peer=branch-*`; an alert must match all of them",
    }),
    startsAt: Timestamp,
    endsAt: Timestamp,
    comment: T.String(),
    createdBy: T.String({ description: "who added it; empty: unknown" }),
  },
  { $id: "Silence", ...closed },
);

export const SilenceBody = T.Object(
  {
    matchers: T.Array(
      T.String({ minLength: 1, maxLength: SILENCE_LIMITS.matcherLength, pattern: ONE_LINE }),
      {
        minItems: 1,
        maxItems: SILENCE_LIMITS.matchers,
        description:
          "fields and values, such as `peer=branch-*`; the fields are peer, tag, device, rule, severity and target; an alert must match all",
      },
    ),
    for: T.Optional(
      T.String({
        minLength: 2,
        maxLength: 20,
        description: "how long, such as 90s or 2h; give either this or `until`",
      }),
    ),
    until: T.Optional(
      T.String({ format: "date-time", maxLength: 40, description: "when it ends, RFC 3339" }),
    ),
    comment: T.Optional(
      T.String({ maxLength: SILENCE_LIMITS.commentLength, pattern: ONE_LINE, description: "why" }),
    ),
    createdBy: T.Optional(
      T.String({ maxLength: 100, pattern: ONE_LINE, description: "who; default: the API" }),
    ),
  },
  { $id: "NewSilence", ...closed },
);

export type AlertApiView = Static<typeof AlertSchema>;
export type AlertDetailView = Static<typeof AlertDetailSchema>;
export type NoticeApiView = Static<typeof NoticeSchema>;
export type RuleView = Static<typeof RuleSchema>;
export type SilenceView = Static<typeof SilenceSchema>;
export type NewSilenceView = Static<typeof SilenceBody>;
export type SuppressionView = Static<typeof SuppressionSchema>;
