/**
 * The name by which a hub knows a gateway, and the names that the hub gives to the gateway's devices. Pure.
 */

/** The characters are those of a DNS label, so that a name fits into a NATS subject, a URL and a file name. */
const NAME = /^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/;
/** Not allowed in the names of interfaces (dev_valid_name in the kernel), so it separates gateway and device. */
const SEPARATOR = "/";

/** Whether the text is the name of a gateway: `berlin`, `gw-7`. */
export function isGatewayName(text: string): boolean {
  return NAME.test(text);
}

/** Makes the name of a gateway from its `--host`: "Berlin.example.net" -> "berlin-example-net"; null: nothing is left. */
export function gatewayName(host: string): string | null {
  const name = host
    .toLowerCase()
    .replaceAll(/[^a-z0-9]+/g, "-")
    .slice(0, 63)
    .replaceAll(/^-+|-+$/g, "");
  return name === "" ? null : name;
}

/** The name of a gateway's device on the hub: `berlin/wg0`. */
export function fleetDevice(gateway: string, device: string): string {
  return gateway + SEPARATOR + device;
}

/** The reverse of `fleetDevice`. On a gateway, `gateway` is null. */
export function splitDevice(name: string): {
  readonly gateway: string | null;
  readonly device: string;
} {
  const at = name.indexOf(SEPARATOR);
  if (at === -1) return { gateway: null, device: name };
  return { gateway: name.slice(0, at), device: name.slice(at + 1) };
}
