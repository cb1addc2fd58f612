/** The enrolled gateways: their secrets, and what the next run of the hub must know of each. */

import { parseSecrets, type SigningSecret } from "../channels/signature.ts";
import type { FleetRows } from "../store/fleet-rows.ts";
import type { GatewayCondition, SavedGateway } from "./fleet-state.ts";

const SECRET_BYTES = 32;

/** What is saved of a gateway, as JSON. */
export interface GatewayState {
  /** null: it has never reported. */
  readonly saved: SavedGateway | null;
  readonly condition: GatewayCondition;
  /** The time in the signature of the last accepted message, in seconds; a message with an earlier one is refused. */
  readonly signedAtSeconds: number;
}

export interface EnrolledGateway {
  readonly name: string;
  /** Empty: the transport authenticates the gateway. */
  readonly secrets: readonly SigningSecret[];
  signedAtSeconds: number;
  /** As of the start of the hub. */
  readonly before: GatewayState | null;
}

export class EnrolledGateways {
  readonly #rows: FleetRows;
  /** Kept in memory, because the rows cannot be read while the store's file fails. */
  readonly #gateways = new Map<string, EnrolledGateway>();

  constructor(rows: FleetRows) {
    this.#rows = rows;
    for (const { gateway, secret, state } of rows.gateways()) {
      const {
        saved = null,
        condition = "waiting",
        signedAtSeconds = 0,
      } = JSON.parse(state) as Partial<GatewayState>;
      this.#put(gateway, secret, signedAtSeconds, { saved, condition, signedAtSeconds });
    }
  }

  get all(): Iterable<EnrolledGateway> {
    return this.#gateways.values();
  }

  get(name: string): EnrolledGateway | null {
    return this.#gateways.get(name) ?? null;
  }

  /** Adds a gateway, or replaces its secret. Returns the secret: `whsec_...`. */
  enroll(name: string, secret = newSecret()): string {
    this.#rows.enroll(name, secret);
    this.#put(name, secret, this.get(name)?.signedAtSeconds ?? 0, this.get(name)?.before ?? null);
    return secret;
  }

  /** Adds a gateway that the transport authenticates. */
  adopt(name: string): void {
    this.#rows.enroll(name, null);
    this.#put(name, null, 0, null);
  }

  /** Returns whether it was enrolled. */
  forget(name: string): boolean {
    this.#rows.forget(name);
    return this.#gateways.delete(name);
  }

  #put(
    name: string,
    secret: string | null,
    signedAtSeconds: number,
    before: GatewayState | null,
  ): void {
    this.#gateways.set(name, { name, secrets: secretsOf(secret), signedAtSeconds, before });
  }
}

/**
 * Finds the secret of a gateway in the line that `wgmon hub enroll` prints, or in a text that is the secret alone; null:
 * there is no secret.
 */
export function secretIn(text: string): string | null {
  const found = /whsec_[A-Za-z0-9+/=]+/.exec(text)?.[0] ?? null;
  return found !== null && secretsOf(found).length === 1 ? found : null;
}

/** Makes the secret of a gateway, as Standard Webhooks writes it. */
export function newSecret(): string {
  for (;;) {
    const text = crypto
      .getRandomValues(new Uint8Array(SECRET_BYTES))
      .toBase64({ omitPadding: true });
    // In the URL of a gateway's settings, these characters would have to be escaped.
    if (!/[+/]/.test(text)) return `whsec_${text}`;
  }
}

function secretsOf(secret: string | null): readonly SigningSecret[] {
  if (secret === null) return [];
  const parsed = parseSecrets(secret);
  return "value" in parsed ? parsed.value : [];
}
