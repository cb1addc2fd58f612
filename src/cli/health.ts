/** `wgmon health`: whether the running wgmon is ready, for health checks of containers and for scripts. */

import { runtimeDirOf, socketPath } from "../platform/socket-path.ts";
import { DaemonClient } from "./client.ts";

/**
 * Returns the text of `/readyz`: `ready`, followed by the current limitations.
 *
 * @throws SystemError when wgmon is not running, does not respond within 20 s, or is not ready.
 */
export async function fetchHealth(env: Parameters<typeof runtimeDirOf>[0]): Promise<string> {
  return await new DaemonClient(socketPath(runtimeDirOf(env))).text("/readyz");
}
