/**
 * START HERE for `wgmon hub`. Runs the stages in the order of the flow:
 *
 *   message -> receiver -> intake -> store -> fleet state, alerts, outbox, listeners
 *
 * To follow one message, read HttpsReceiver.handle, Intake.events or Intake.state, and FleetReporter.reportEvents.
 * stages.ts connects the stages; hub-daemon.ts starts the hub.
 */

import { SystemError } from "../base/errors.ts";
import type { Settings } from "../config/config.ts";
import { mergeReloaded } from "../config/reload.ts";
import { makeFleetSamples } from "../events/samples.ts";
import { fleetDevice, gatewayName } from "../fleet/gateway-name.ts";
import type { HubLease } from "./hub-lease.ts";
import type { NatsReceiver } from "./nats-receiver.ts";
import { buildHubStages, type HubOptions } from "./stages.ts";

/** Time limit for the last delivery attempts at shutdown. */
const DRAIN_MS = 800;
/** How often gateways are looked for that are lost. */
const WATCH_MS = 5000;
/** The two clocks of the machine drift apart by more only if it was suspended. */
const SUSPENDED_MS = 2000;

export type HubStages = ReturnType<typeof buildHubStages>;

export class Hub {
  readonly stages: HubStages;
  readonly #options: HubOptions;
  #settings: Settings;
  #cancelWatch = () => {};
  #suspendedMs: number;
  #nats: NatsReceiver | null = null;
  #isStopped = false;
  /** Of two hubs, one works; the other stands by: it only keeps the events that the one that works has. */
  readonly isActive: boolean;
  readonly #lease: HubLease | null;

  constructor(settings: Settings, options: HubOptions) {
    this.#settings = settings;
    this.#options = options;
    this.#lease = options.lease ?? null;
    this.isActive = this.#lease === null || this.#lease.isActive;
    this.stages = buildHubStages(options, () => this.#settings);
    const lease = this.#lease;
    if (lease !== null) {
      const { fleet, enrolled } = this.stages;
      const { isActive } = this;
      fleet.role = () => ({ isActive, active: lease.active });
      lease.hold({
        committed: () => this.#nats?.committed ?? null,
        gateways: () =>
          Object.fromEntries([...enrolled.all].map(({ name }) => [name, fleet.condition(name)])),
      });
      this.followLease();
    }
    this.#suspendedMs = this.#readSuspended();
    this.#applySettings();
  }

  get settings(): Settings {
    return this.#settings;
  }

  /** Names in the settings of a hub may match gateways that report later. */
  readonly unmatched: readonly string[] = [];

  start(): void {
    const { maintenance, outbox } = this.stages;
    maintenance.start();
    void this.#startNats();
    if (!this.isActive) return;
    this.#scheduleWatch();
    const [sample] = makeFleetSamples(0, this.#settings.host);
    outbox.warmUp(sample!);
  }

  /** Adds the gateways that only the other hub has enrolled: NATS authenticates them, so no secret is needed. */
  followLease(): void {
    for (const name of Object.keys(this.#lease?.lease?.gateways ?? {})) {
      if (this.stages.enrolled.get(name) !== null) continue;
      this.stages.enrolled.adopt(name);
      this.#add(name);
    }
  }

  /** Applies the settings that can change at run time, and logs a warning for the others. */
  reload(wanted: Settings): Settings {
    const { settings, needRestart } = mergeReloaded(this.#settings, wanted);
    if (needRestart.length > 0) {
      this.#options.log.warn(`changed settings that need a restart: ${needRestart.join(", ")}`);
    }
    this.#settings = settings;
    this.#applySettings();
    if (this.isActive) this.stages.alerts.reload();
    return settings;
  }

  /**
   * Asks for all events again, of one gateway or of all (null). Returns the number of gateways.
   *
   * @throws SystemError as `enroll`.
   */
  rebuild(gateway: string | null): number {
    this.#checkStore("rebuild");
    const count = this.stages.intake.rebuild(gateway);
    // The stream may have events of gateways that do not exist any more.
    if (gateway === null) this.#nats?.rebuild();
    return count;
  }

  /** Shuts down. Pending events are tried once more within DRAIN_MS. */
  async stop(): Promise<void> {
    const { alerts, clockSteps, endpointNames, fleet, intake } = this.stages;
    const { maintenance, outbox, saver, store, traffic } = this.stages;
    this.#cancelWatch();
    this.#isStopped = true;
    // It commits what was delivered.
    await this.#nats?.stop();
    intake.stop();
    maintenance.stop();
    clockSteps.stop();
    endpointNames[Symbol.dispose]();
    await outbox.drain(DRAIN_MS);
    saver.saveAll();
    traffic.flush(fleet.storedSessions());
    alerts.stop();
    store[Symbol.dispose]();
  }

  /**
   * Adds a gateway, or replaces its secret. Returns the secret.
   *
   * @param given omitted: a new one.
   * @throws SystemError if the store's file cannot be written: the change would be lost with the rows in memory.
   */
  enroll(name: string, given?: string): string {
    this.#checkStore(`enroll ${name}`);
    const secret = this.stages.enrolled.enroll(name, given);
    this.#checkStore(`enroll ${name}`);
    this.#add(name);
    this.#options.log.info("gateway enrolled", { gateway: name });
    return secret;
  }

  #add(name: string): void {
    const { fleet, watch, intake, clock } = this.stages;
    fleet.add(name, null, clock.now());
    watch.add(name, null);
    intake.add(name);
  }

  /**
   * Forgets a gateway and its secret; its events stay. Returns whether it was enrolled.
   *
   * @throws SystemError as `enroll`.
   */
  forget(name: string): boolean {
    const { alerts, enrolled, fleet, watch, intake } = this.stages;
    this.#checkStore(`forget ${name}`);
    if (!enrolled.forget(name)) return false;
    const prefix = fleetDevice(name, "");
    const devices = fleet.devices().map((device) => device.name);
    intake.forget(name);
    fleet.remove(name);
    watch.remove(name);
    alerts.forgetGateway(
      prefix,
      devices.filter((device) => device.startsWith(prefix)),
    );
    this.#options.log.info("gateway forgotten", { gateway: name });
    return true;
  }

  /** @throws SystemError */
  #checkStore(operation: string): void {
    const { problem } = this.stages.store;
    if (problem !== null) throw new SystemError(operation, "EIO", problem);
  }

  /** Its code is loaded only if the settings have servers. */
  async #startNats(): Promise<void> {
    const { nats: login, host } = this.#settings;
    if (login === null) return;
    const { NatsReceiver } = await import("./nats-receiver.ts");
    if (this.#isStopped) return;
    const { clock, enrolled, intake, watch } = this.stages;
    this.#nats = new NatsReceiver({
      login,
      hub: gatewayName(host) ?? "hub",
      intake,
      isEnrolled: (gateway) => enrolled.get(gateway) !== null,
      log: this.#options.log,
      clock,
      ...(this.isActive
        ? {}
        : { standby: { committed: () => this.#lease?.lease?.committed ?? null } }),
      // After a time without the server, another hub may work.
      beforeReceiving: async () => await this.#lease?.step(),
      // No gateway is lost because the hub itself was away.
      onConnection: () => watch.disturbed(clock.now()),
    });
  }

  #applySettings(): void {
    const { endpointNames, outbox } = this.stages;
    endpointNames.setEnabled(this.#settings.resolveEndpoints);
    // Without targets, nothing is queued for them, and what is waiting stays.
    if (!this.isActive) return;
    outbox.setTargets(this.#options.makeTargets(this.#settings));
  }

  #scheduleWatch(): void {
    const { clock, intake, watch } = this.stages;
    this.#cancelWatch = clock.after(WATCH_MS, () => {
      const suspendedMs = this.#readSuspended();
      if (suspendedMs - this.#suspendedMs > SUSPENDED_MS) watch.disturbed(clock.now());
      this.#suspendedMs = suspendedMs;
      intake.tick();
      this.#scheduleWatch();
    });
  }

  /** CLOCK_BOOTTIME minus the monotonic clock: changes when the machine is suspended. */
  #readSuspended(): number {
    return this.#options.machine.bootMs() - this.stages.clock.now().monotonicMs;
  }
}
