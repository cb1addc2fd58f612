/** The path of the Unix socket that the server listens on and wgmon's commands connect to. Pure. */

const RUNTIME_DIR = "/run/wgmon";
const SOCKET_NAME = "wgmon.sock";

/** The runtime directory that systemd passes, otherwise the one that RuntimeDirectory=wgmon creates. */
export function runtimeDirOf(env: Readonly<Record<string, string | undefined>>): string {
  // systemd separates several directories by colons: systemd.exec(5).
  const folder = env["RUNTIME_DIRECTORY"]?.split(":")[0] ?? "";
  return folder.startsWith("/") ? folder : RUNTIME_DIR;
}

export function socketPath(runtimeDir: string): string {
  return `${runtimeDir}/${SOCKET_NAME}`;
}
