/** A folder for chroot that contains only wgmon and glibc. Needs root. */

import { copyFile, mkdir, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";

import { $ } from "bun";

import { version } from "../../package.json";

const ROOT = join(import.meta.dir, "../..");

/** The file that `bun build.ts --release` writes for this machine. */
export const RELEASE = join(ROOT, `dist/wgmon-${version}-linux-${process.arch}`);

export class BareRoot implements AsyncDisposable {
  readonly path: string;

  static async create(): Promise<BareRoot> {
    const path = await mkdtemp(join(tmpdir(), "wgmon-bare-"));
    // Each line: `libc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x...)`, the loader with its path only.
    const listed = await $`ldd ${RELEASE}`.text();
    for (const [, file] of listed.matchAll(/(\/\S+) \(0x/g)) {
      await mkdir(join(path, file!, ".."), { recursive: true });
      await copyFile(file!, join(path, file!));
    }
    for (const folder of ["proc", "tmp"]) await mkdir(join(path, folder));
    await copyFile(RELEASE, join(path, "wgmon"));
    return new BareRoot(path);
  }

  private constructor(path: string) {
    this.path = path;
  }

  /** The command that runs wgmon in this root. */
  command(...args: readonly string[]): string[] {
    // In a separate mount namespace: /proc is unmounted when wgmon exits.
    const script = 'mount -t proc proc "$0/proc"; exec chroot "$0" /wgmon "$@"';
    return ["unshare", "--mount", "sh", "-euc", script, this.path, ...args];
  }

  /** The files that wgmon has written. */
  written(): string[] {
    const files = [
      ...new Bun.Glob("**/*").scanSync({ cwd: this.path, dot: true, onlyFiles: true }),
    ];
    return files.filter((file) => !/^(?:lib|lib64|usr)\//.test(file) && basename(file) !== "wgmon");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await rm(this.path, { recursive: true });
  }
}
