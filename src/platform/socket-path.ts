/** The path of the Unix socket that the server listens on and wgmon's commands connect to. Pure. */

const RUNTIME_DIR = "/run/wgmon";
const HUB_RUNTIME_DIR = "/run/wgmon-hub";
const SOCKET_NAME = "wgmon.sock";

/** The runtime directory that systemd passes, otherwise the one that RuntimeDirectory=wgmon creates. */
export function runtimeDirOf(env: Readonly<Record<string, string | undefined>>): string {
  // systemd separates several directories by colons: systemd.exec(5).
  const folder = env["RUNTIME_DIRECTORY"]?.split(":")[0] ?? "";
  return folder.startsWith("/") ? folder : RUNTIME_DIR;
}

/** The same for the hub: a machine can be both a gateway and the hub. */
export function hubRuntimeDirOf(env: Readonly<Record<string, string | undefined>>): string {
  const folder = runtimeDirOf(env);
  return folder === RUNTIME_DIR ? HUB_RUNTIME_DIR : folder;
}

export function socketPath(runtimeDir: string): string {
  return `${runtimeDir}/${SOCKET_NAME}`;
}
