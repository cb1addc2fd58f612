/** Debian in folders, by mmdebstrap from the machine's own package sources. */

import { join } from "node:path";

export interface Roots {
  /** An archive of the least that there is, as a base for images. */
  readonly base: string;
  /** A folder: with systemd and what wgmon's package wants. */
  readonly systemd: string;
  /** A folder: the newer podman and compose of the next Debian, unpacked only, for their validators. */
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
