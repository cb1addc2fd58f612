/** The settings of the hub that this gateway reports to. */

import type { SigningSecret } from "../channels/signature.ts";

export interface HubSettings {
  readonly type: "https";
  /** Without user name and password. */
  readonly url: string;
  /** The name by which the hub knows this gateway. */
  readonly gateway: string;
  readonly secret: SigningSecret;
  /** Certificates of the authorities that the hub's certificate is checked with, in PEM; null: those of the system. */
  readonly ca: string | null;
}

/** The key of the hub among the targets. */
export const HUB_KEY = "hub";
