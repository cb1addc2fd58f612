/**
 * Receives the messages of gateways by HTTPS. Each is signed with the gateway's secret as in Standard Webhooks; the
 * signature is the only authentication, so neither the Host header nor a token matters here. A message that was received
 * before is refused.
 */

import type { Clock } from "../base/clock.ts";
import { SystemError } from "../base/errors.ts";
import { verify } from "../channels/signature.ts";
import { problem, type ProblemStatus } from "../http/problem.ts";
import type { Log } from "../platform/log.ts";
import { checkEvents, checkState } from "./check-messages.ts";
import type { EnrolledGateway, EnrolledGateways } from "./enrolled.ts";
import { type Intake, TryLater } from "./intake.ts";

/** Ids are remembered for longer than a signature is valid. */
const REMEMBERED_MS = 10 * 60_000;
/** A gateway knows the hub's time about this well. */
const STARTED_TOLERANCE_MS = 5000;
/** Most ids that are remembered of one gateway: it sends one message at a time. */
const IDS_MAX = 20_000;
const ID_LENGTH_MAX = 100;
/** Bodies that are read at once; each may take MESSAGE_BYTES_MAX. With one more, the oldest is not read any more. */
const BODIES_MAX = 64;
/** The same for one gateway, which sends one message at a time. */
const GATEWAY_BODIES_MAX = 2;
/** A body must arrive within this time: it is not authenticated before. */
const BODY_MS = 15_000;
/** Several signatures are separated by spaces. */
const SIGNATURE = /^v1,[A-Za-z0-9+/]{43}=(?: v1,[A-Za-z0-9+/]{43}=){0,3}$/;
const NO_BODY = new Uint8Array();
/** A refused message is logged at most once in this time, for each gateway. */
const LOG_MS = 60_000;

const NO_MATCH = "no signature matches any of the secrets";
const NOT_ENROLLED = "no gateway is enrolled with this name and secret";

interface Options {
  readonly clock: Clock;
  readonly log: Log;
  readonly enrolled: EnrolledGateways;
  readonly intake: Pick<Intake, "events" | "state">;
}

export class HttpsReceiver {
  readonly #options: Options;
  /** The ids of accepted messages by gateway, with the time of each, the oldest first. Monotonic. */
  readonly #ids = new Map<string, Map<string, number>>();
  readonly #loggedMs = new Map<string, number>();
  /**
   * Messages that were signed before the hub started are refused: which of them were accepted may be unknown, because the
   * hub may have crashed.
   */
  readonly #startedAtSeconds: number;
  /** The bodies that are read, the oldest first. */
  readonly #bodies = new Set<{ readonly gateway: string; readonly giveUp: () => void }>();

  constructor(options: Options) {
    this.#options = options;
    const { wallMs } = options.clock.now();
    this.#startedAtSeconds = Math.floor((wallMs - STARTED_TOLERANCE_MS) / 1000);
  }

  /** Answers `POST /v1/fleet/events` and `POST /v1/fleet/state`. */
  async handle(request: Request): Promise<Response> {
    const { pathname } = new URL(request.url);
    const kind = pathname === "/v1/fleet/events" ? "events" : "state";
    if (kind === "state" && pathname !== "/v1/fleet/state") return problem(404);
    if (request.method !== "POST") return problem(405, { headers: { allow: "POST" } });
    const name = request.headers.get("wgmon-gateway") ?? "";
    // Before the name, so that the answers to a request without a valid signature do not depend on it.
    const mistake = this.#checkHeaders(request.headers);
    if (mistake !== null) return this.#refuse(name, 401, mistake);
    if (this.#options.enrolled.get(name) === null) return this.#refuse(name, 401, NOT_ENROLLED);
    const body = await this.#readBody(name, request);
    if (body === null) {
      const headers = { connection: "close" };
      return problem(400, { detail: "the body did not arrive completely in time", headers });
    }
    // It may have been forgotten, or have another secret, since the request began.
    const gateway = this.#options.enrolled.get(name);
    const refusal =
      gateway === null ? NOT_ENROLLED : this.#authenticate(gateway, request.headers, body);
    if (refusal !== null) return this.#refuse(name, 401, refusal);
    const value = parse(body);
    if (value === null) return this.#refuse(name, 400, "the body is not JSON");
    return this.#take(name, kind, value);
  }

  async #readBody(gateway: string, request: Request): Promise<Uint8Array | null> {
    const { promise, resolve } = Promise.withResolvers<null>();
    const giveUp = () => resolve(null);
    const ofGateway = [...this.#bodies].filter((each) => each.gateway === gateway);
    if (ofGateway.length >= GATEWAY_BODIES_MAX) ofGateway[0]!.giveUp();
    else if (this.#bodies.size >= BODIES_MAX) [...this.#bodies][0]!.giveUp();
    const reading = { gateway, giveUp };
    this.#bodies.add(reading);
    const cancel = this.#options.clock.after(BODY_MS, giveUp);
    try {
      return await Promise.race([request.bytes(), promise]);
    } catch {
      return null;
    } finally {
      cancel();
      this.#bodies.delete(reading);
    }
  }

  /** Returns why the headers cannot be those of a message; null: they can. */
  #checkHeaders(headers: Headers): string | null {
    const { wallMs } = this.#options.clock.now();
    const signed = signedHeaders(headers);
    const result = verify([], signed, NO_BODY, wallMs);
    if (result !== NO_MATCH) return result;
    if (signed.id!.length > ID_LENGTH_MAX) return "webhook-id is too long";
    return SIGNATURE.test(signed.signature!) ? null : NOT_ENROLLED;
  }

  /** Returns why the message is not accepted; null: it is. */
  #authenticate(gateway: EnrolledGateway, headers: Headers, body: Uint8Array): string | null {
    const { wallMs, monotonicMs } = this.#options.clock.now();
    const { id, timestamp, signature } = signedHeaders(headers);
    const result = verify(gateway.secrets, { id, timestamp, signature }, body, wallMs);
    if (result === NO_MATCH) return NOT_ENROLLED;
    if (result !== "ok") return result;
    const seconds = Number(timestamp);
    // Not later than now: the hub's clock may have been set back.
    const earliest = Math.max(gateway.signedAtSeconds, this.#startedAtSeconds);
    if (seconds < Math.min(earliest, Math.floor(wallMs / 1000))) {
      return "webhook-timestamp is earlier than that of another message, or than the start of the hub";
    }
    const ids = this.#idsOf(gateway.name, monotonicMs);
    if (ids.has(id!)) return "a message with this webhook-id was accepted before";
    ids.set(id!, monotonicMs);
    gateway.signedAtSeconds = seconds;
    return null;
  }

  #idsOf(name: string, nowMs: number): Map<string, number> {
    const ids = this.#ids.get(name) ?? new Map<string, number>();
    this.#ids.set(name, ids);
    for (const [id, atMs] of ids) {
      if (nowMs - atMs < REMEMBERED_MS && ids.size < IDS_MAX) break;
      ids.delete(id);
    }
    return ids;
  }

  #take(name: string, kind: "events" | "state", value: unknown): Response {
    const { intake } = this.#options;
    try {
      if (kind === "events") {
        const checked = checkEvents(value);
        if ("problem" in checked) return this.#refuse(name, 422, checked.problem);
        return Response.json(intake.events(name, checked.message));
      }
      const checked = checkState(value);
      if ("problem" in checked) return this.#refuse(name, 422, checked.problem);
      return Response.json(intake.state(name, checked.message));
    } catch (error) {
      if (error instanceof TryLater) return this.#refuse(name, 429, error.message);
      if (!(error instanceof SystemError)) throw error;
      return this.#refuse(name, 503, "the hub's store cannot keep events now");
    }
  }

  /** The gateway learns the hub's time from the response, so that its next signature is valid. */
  #refuse(name: string, status: ProblemStatus, detail: string): Response {
    const { clock, log, enrolled } = this.#options;
    const { monotonicMs, wallMs } = clock.now();
    // Unknown names share one entry, because any client may send them.
    const gateway = enrolled.get(name) === null ? "" : name;
    const loggedMs = this.#loggedMs.get(gateway) ?? -Infinity;
    if (monotonicMs - loggedMs >= LOG_MS) {
      this.#loggedMs.set(gateway, monotonicMs);
      const about = gateway === "" ? {} : { gateway };
      log.warn(`a message of a gateway was refused: ${detail}`, about);
    }
    return problem(status, { detail, nowMs: wallMs });
  }
}

function signedHeaders(headers: Headers) {
  return {
    id: headers.get("webhook-id"),
    timestamp: headers.get("webhook-timestamp"),
    signature: headers.get("webhook-signature"),
  };
}

/** null: the body is not JSON. */
function parse(body: Uint8Array): unknown {
  try {
    return JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(body)) as unknown;
  } catch {
    return null;
  }
}
