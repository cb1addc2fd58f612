/** The settings of the hub that this gateway reports to. */

import type { SigningSecret } from "../channels/signature.ts";
import type { NatsLogin } from "../fleet/nats-url.ts";

interface Common {
  /** Without user name and password. Of several NATS servers, all: `tls://n1.example.net:4222,n2.example.net:4222`. */
  readonly url: string;
  /** The name by which the hub knows this gateway. */
  readonly gateway: string;
}

export interface HttpsHubSettings extends Common {
  readonly type: "https";
  readonly secret: SigningSecret;
  /** Certificates of the authorities that the hub's certificate is checked with, in PEM; null: those of the system. */
  readonly ca: string | null;
}

export interface NatsHubSettings extends Common {
  readonly type: "nats";
  readonly login: NatsLogin;
}

export type HubSettings = HttpsHubSettings | NatsHubSettings;

/** The key of the hub among the targets. */
export const HUB_KEY = "hub";
