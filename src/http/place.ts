/** Where the Unix socket is that the server listens on and wgmon's commands ask. Pure. */

const RUNTIME_DIR = "/run/wgmon";
const SOCKET_NAME = "wgmon.sock";

/** What systemd says, or where it would put it: RuntimeDirectory=wgmon. */
export function runtimeDirOf(env: Readonly<Record<string, string | undefined>>): string {
  // Several are separated by colons: systemd.exec(5).
  const folder = env["RUNTIME_DIRECTORY"]?.split(":")[0] ?? "";
  return folder.startsWith("/") ? folder : RUNTIME_DIR;
}

export function socketIn(runtimeDir: string): string {
  return `${runtimeDir}/${SOCKET_NAME}`;
}
