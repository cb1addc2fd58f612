/**
 * Seam: sends notifications to systemd, or any other supervisor that set $NOTIFY_SOCKET, sd_notify(3). Uses libc,
 * because Bun has no Unix datagram sockets. Loaded only if the variable is set.
 */

import { clock as libcClock, errno, libc } from "../../ffi/libc.ts";
import type { Clock } from "../base/clock.ts";
import { SystemError } from "../base/errors.ts";
import { counted, firstOf, sanitize } from "../base/text.ts";
import { AF_UNIX, SOCK_CLOEXEC, SOCK_DGRAM, SOCK_NONBLOCK } from "./constants.ts";
import { systemError } from "./errno.ts";
import type { Log } from "./log.ts";
import { unixAddress } from "./unix-address.ts";

/** linux/time.h */
const CLOCK_MONOTONIC = 1;
const OPERATION = "notify systemd";
/** Maximum number of device names in the status text, so that it fits in one line of `systemctl status`. */
const NAMES_MAX = 8;

export interface NotifierOptions {
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly clock: Clock;
  readonly log: Log;
}

/** The state shown in the status text. */
export interface DaemonStatus {
  /** Names of the watched devices. */
  readonly devices: readonly string[];
  readonly connected: number;
}

export class Notifier {
  readonly #address: string;
  readonly #clock: Clock;
  readonly #log: Log;
  #statusText = "";
  #cancelPing = () => {};

  /** Starts the watchdog pings, if the watchdog is enabled. The pings stop if the event loop is blocked. */
  constructor({ env, clock, log }: NotifierOptions) {
    this.#address = env["NOTIFY_SOCKET"] ?? "";
    this.#clock = clock;
    this.#log = log;
    const intervalMs = pingIntervalOf(env);
    if (intervalMs !== null) this.#ping(intervalMs);
  }

  ready(): void {
    this.#send("READY=1");
  }

  /** Sets the status line of `systemctl status`. Sends it only if it changed. */
  publishStatus(now: DaemonStatus): void {
    const text = formatStatus(now);
    if (text === this.#statusText) return;
    this.#statusText = text;
    this.#send(`STATUS=${text}`);
  }

  /** Announces a reload, which `ready` ends. */
  reloading(): void {
    this.#send(`RELOADING=1\nMONOTONIC_USEC=${monotonicUs()}`);
  }

  stopping(): void {
    this.#cancelPing();
    this.#send("STOPPING=1");
  }

  #ping(intervalMs: number): void {
    this.#send("WATCHDOG=1");
    this.#cancelPing = this.#clock.after(intervalMs, () => this.#ping(intervalMs));
  }

  /** A failed notification does not end the program: systemd reacts to a missing notification itself. */
  #send(state: string): void {
    try {
      send(this.#address, state);
    } catch (error) {
      if (!(error instanceof SystemError)) throw error;
      this.#log.warn(error.message);
    }
  }
}

/** Interval of the watchdog pings in milliseconds: half the watchdog's timeout. null if the watchdog is off. */
function pingIntervalOf(env: NotifierOptions["env"]): number | null {
  const { WATCHDOG_USEC: timeoutUs, WATCHDOG_PID: pid } = env;
  // sd_watchdog_enabled(3): the variables may be meant for the parent process.
  if (pid !== undefined && pid !== String(process.pid)) return null;
  if (timeoutUs === undefined || !/^[1-9]\d*$/.test(timeoutUs)) return null;
  return Math.max(1, Number(timeoutUs) / 1000 / 2);
}

function formatStatus({ devices, connected }: DaemonStatus): string {
  if (devices.length === 0) return "waiting for a WireGuard device";
  const shown = firstOf(devices, NAMES_MAX).map(sanitize);
  return `watching ${shown.join(", ")}; ${counted(connected, "peer")} connected`;
}

/** @throws SystemError */
function send(address: string, state: string): void {
  // Do not wait for a slow reader: without pings, the watchdog would kill wgmon.
  const descriptor = libc().socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (descriptor < 0) throw systemError(OPERATION, errno());
  try {
    const socketAddress = /^[/@]./.test(address) ? unixAddress(address) : null;
    if (socketAddress === null) {
      throw new SystemError(
        OPERATION,
        "EINVAL",
        "NOTIFY_SOCKET is neither a path nor an abstract name",
      );
    }
    if (libc().connect(descriptor, socketAddress, socketAddress.length) < 0)
      throw systemError(OPERATION, errno());
    const bytes = new TextEncoder().encode(state);
    if (Number(libc().write(descriptor, bytes, bytes.length)) < 0) {
      throw systemError(OPERATION, errno());
    }
  } finally {
    libc().close(descriptor);
  }
}

function monotonicUs(): bigint {
  // struct timespec: seconds and nanoseconds. performance.now() counts from the start of this process.
  const time = new BigInt64Array(new ArrayBuffer(16));
  libcClock().clock_gettime(CLOCK_MONOTONIC, time);
  return time[0]! * 1_000_000n + time[1]! / 1000n;
}
