/** Debian root file systems, created by mmdebstrap from the machine's package sources. */

import { join } from "node:path";

export interface Roots {
  /** A tar archive of a minimal Debian, as a base image. */
  readonly base: string;
  /** A folder: Debian with systemd and the dependencies of wgmon's package. */
  readonly systemd: string;
  /** A folder: podman and docker-compose of the next Debian release, unpacked only, to validate files. */
  readonly validators: string;
}

const SYSTEMD =
  "systemd,systemd-sysv,dbus,libmnl0,libnetfilter-log1,libpcap0.8,wireguard-tools,iproute2,nftables,kmod";

export function rootsIn(work: string): Roots {
  return {
    base: join(work, "base.tar"),
    systemd: join(work, "systemd"),
    validators: join(work, "validators"),
  };
}

export async function makeRoots({ base, systemd, validators }: Roots): Promise<void> {
  const more = "--include=podman,docker-compose";
  await Promise.all([
    debian("--variant=minbase", "bookworm", base).then(
      async () => await debian("--variant=extract", more, "trixie", validators),
    ),
    debian("--variant=minbase", `--include=${SYSTEMD}`, "bookworm", systemd),
  ]);
}

async function debian(...words: readonly string[]): Promise<void> {
  const child = Bun.spawn(["mmdebstrap", "--quiet", "--mode=root", ...words], {
    stdio: ["ignore", "ignore", "pipe"],
  });
  const complaint = await new Response(child.stderr).text();
  if ((await child.exited) !== 0) throw new Error(`mmdebstrap ${words.join(" ")}\n${complaint}`);
}
