/**
 * Runs one command in a temporary virtual machine whose kernel has WireGuard, for machines whose kernel has none. The
 * guest runs Debian's kernel under QEMU. Its root file system is this machine's, read-only, with an overlay in memory:
 * the guest can use every program and file of this machine and changes nothing.
 * From a shell: bun test/support/vm.ts [--timeout 300s] [--cpus 2] [--memory 3072] [--clock time|instructions] -- COMMAND...
 */

import { accessSync, constants, readFileSync, rmSync } from "node:fs";
import {
  copyFile,
  mkdir,
  mkdtemp,
  readdir,
  readFile,
  rename,
  rm,
  writeFile,
} from "node:fs/promises";
import { homedir, tmpdir } from "node:os";
import { basename, join, resolve } from "node:path";

export interface VmOptions {
  /** The machine is switched off after this time; the exit code is then 124, as with timeout(1). */
  readonly timeoutMs: number;
  readonly cpus?: number;
  readonly memoryMib?: number;
  /**
   * Makes the guest's clock count instructions, one nanosecond each; idle time passes at once. Processor times in the
   * guest then depend neither on the speed of this machine nor on other work on it; other durations say little. The
   * guest is emulated and has one processor.
   */
  readonly countsInstructions?: boolean;
  readonly cwd?: string;
  /**
   * A folder with a Debian installation that has systemd. It becomes the guest's root, with systemd as its first
   * process. The command runs in a unit after startup, and this machine's files are below /host.
   */
  readonly systemd?: string;
  /** Added to PATH, HOME, LANG, CI and WGMON_* of this process, which the guest always gets. */
  readonly environment?: Readonly<Record<string, string>>;
  /** A folder of this machine that the guest can write to, as $WGMON_TEST_OUT; default: a temporary folder. */
  readonly resultsFolder?: string;
  /** Receives standard output and error, interleaved; default: they are printed. */
  readonly onOutput?: (chunk: Uint8Array) => void;
}

/** Modules that the guest needs for this machine's files and for its output. */
const BOOT_MODULES = ["virtio_pci", "virtio_console", "9pnet_virtio", "9p", "overlay"];

const SHARE_OPTIONS = "trans=virtio,version=9p2000.L,msize=512000";

/** cache=loose: the files do not change while the guest runs, so it may cache them. */
const INIT = `#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin
mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t devtmpfs dev /dev
while read -r module; do insmod "/modules/$module"; done </modules/order
mount -t 9p -o ${SHARE_OPTIONS},ro,cache=loose root /lower
mount -t tmpfs tmpfs /upper; mkdir -p /upper/up /upper/work
mount -t overlay -o lowerdir=/lower,upperdir=/upper/up,workdir=/upper/work overlay /root
mount --move /proc /root/proc; mount --move /sys /root/sys; mount --move /dev /root/dev
exec switch_root /root /bin/bash "$guest" </dev/console >/dev/console 2>&1
`;

/** Mounts the `systemd` folder with an overlay in memory, as the new root, with this machine's root at /host. */
const SYSTEMD_ROOT = `
root=/run/root
mkdir -p /run/lower /run/upper /run/work $root
mount -t 9p -o ${SHARE_OPTIONS},ro,cache=loose systemd /run/lower
mount -t overlay -o lowerdir=/run/lower,upperdir=/run/upper,workdir=/run/work overlay $root
mkdir -p $root/host
mount --bind / $root/host
`;

/**
 * no_timer_check: without it, the guest compares timer interrupts with a loop at startup, and panics if a busy machine
 * delays them. Most other options avoid work that no test needs.
 */
const KERNEL_OPTIONS =
  "console=ttyS0 quiet panic=-1 mitigations=off nokaslr audit=0 apparmor=0 " +
  "clocksource=tsc tsc=reliable no_timer_check i8042.noaux i8042.nokbd random.trust_cpu=on cryptomgr.notests rcupdate.rcu_expedited=1";

const SEARCH_PATH = `${process.env["PATH"] ?? ""}:/usr/local/sbin:/usr/sbin:/sbin`;

/** Why this machine cannot run the virtual machine, and what to do about it; null if it can. */
export function whyNoVm(): string | null {
  if (process.platform !== "linux" || process.arch !== "x64") {
    return `the test machine supports Linux on x86_64 only, not ${process.platform} on ${process.arch}`;
  }
  const packages = {
    "qemu-system-x86_64": "qemu-system-x86",
    busybox: "busybox-static",
    depmod: "kmod",
    xz: "xz-utils",
    setpriv: "util-linux",
    "apt-get": "apt",
    "dpkg-deb": "dpkg",
  };
  const missing = Object.entries(packages).filter(([program]) => which(program) === null);
  if (missing.length === 0) return null;
  const names = missing.map(([, name]) => name).join(" ");
  return `the test machine needs ${missing.map(([program]) => program).join(", ")} (Debian: apt-get install ${names})`;
}

export async function runInVm(
  command: readonly string[],
  options: VmOptions,
): Promise<{ exitCode: number }> {
  const reason = whyNoVm();
  if (reason !== null) throw new Error(reason);
  const image = await preparedImage();
  const work = await mkdtemp(join(tmpdir(), "wgmon-vm-"));
  const results = resolve(options.resultsFolder ?? join(work, "results"));
  const status = join(results, `.status-${basename(work)}`);
  const consoleLog = join(work, "console");
  const guest = join(work, "guest");
  await mkdir(results, { recursive: true });
  await writeFile(guest, guestScript(command, options, image, results, status));

  const limit = AbortSignal.timeout(options.timeoutMs);
  const qemu = Bun.spawn(
    [
      // Ends the virtual machine when this process ends for any reason.
      [which("setpriv")!, "--pdeathsig", "KILL", which("qemu-system-x86_64")!],
      ["-machine", "q35", ...processors(options)],
      ["-m", String(options.memoryMib ?? 3072), "-no-reboot", "-nodefaults", "-display", "none"],
      ["-kernel", image.kernel, "-initrd", image.initramfs],
      ["-append", `${KERNEL_OPTIONS} "guest=${guest}"`],
      ["-virtfs", share("root", "/", ",readonly=on,multidevs=remap")],
      ["-virtfs", share("results", results, "")],
      options.systemd === undefined
        ? []
        : ["-virtfs", share("systemd", resolve(options.systemd), ",readonly=on,multidevs=remap")],
      // A separate channel for the command's output, because the serial console is slow.
      ["-device", "virtio-serial-pci", "-chardev", "stdio,id=output,signal=off"],
      ["-device", "virtserialport,chardev=output", "-serial", `file:${consoleLog}`],
    ].flat(),
    // Standard input stays open and unused: at its end, QEMU would close the channel.
    { stdin: "pipe", stdout: "pipe", stderr: "pipe", signal: limit, killSignal: "SIGKILL" },
  );
  const cleanUp = (): void => {
    qemu.kill("SIGKILL");
    rmSync(status, { force: true });
    rmSync(work, { recursive: true, force: true });
  };
  const interrupted = (signal: NodeJS.Signals): never =>
    process.exit(signal === "SIGINT" ? 130 : 143);
  process.once("exit", cleanUp).once("SIGINT", interrupted).once("SIGTERM", interrupted);
  try {
    const complaints = new Response(qemu.stderr).text();
    const print = options.onOutput ?? ((chunk: Uint8Array) => void process.stdout.write(chunk));
    for await (const chunk of qemu.stdout) print(chunk);
    await qemu.exited;
    if (limit.aborted) return { exitCode: 124 };
    const exitCode = await readFile(status, "utf8").catch(() => null);
    if (exitCode !== null) return { exitCode: Number(exitCode) };
    const consoleText = await readFile(consoleLog, "utf8").catch(() => "");
    throw new Error(`the test machine crashed\n${await complaints}${consoleText.slice(-4000)}`);
  } finally {
    process.off("exit", cleanUp).off("SIGINT", interrupted).off("SIGTERM", interrupted);
    cleanUp();
  }
}

function share(tag: string, path: string, more: string): string {
  return `local,path=${path.replaceAll(",", ",,")},mount_tag=${tag},security_model=none${more}`;
}

/** QEMU options. */
function processors({ countsInstructions = false, cpus = 2 }: VmOptions): readonly string[] {
  if (!countsInstructions) return [...accelerator(), "-smp", String(cpus)];
  // Each instruction takes 2^shift nanoseconds.
  const clock = ["-icount", "shift=0,sleep=off"];
  return ["-accel", "tcg,thread=single", ...clock, "-cpu", "max", "-smp", "1"];
}

/**
 * QEMU options: hardware virtualisation if the processor has it, else emulation. /dev/kvm is not sufficient: in some
 * virtual machines it can be opened without hardware support, and the guest never starts.
 */
function accelerator(): readonly string[] {
  const emulated = ["-accel", "tcg,thread=multi", "-cpu", "max"];
  if (!/^flags\b.*\b(vmx|svm)\b/m.test(readFileSync("/proc/cpuinfo", "utf8"))) return emulated;
  try {
    accessSync("/dev/kvm", constants.R_OK | constants.W_OK);
    return ["-accel", "kvm", ...emulated];
  } catch {
    return emulated;
  }
}

/** The script that the guest runs as its first process, once this machine's files are mounted. */
function guestScript(
  command: readonly string[],
  options: VmOptions,
  image: Image,
  results: string,
  status: string,
): string {
  const passedOn = Object.entries(process.env).filter(([name]) =>
    /^(PATH|HOME|LANG|CI|WGMON_\w+)$/.test(name),
  );
  const environment: Record<string, string | undefined> = {
    ...Object.fromEntries(passedOn),
    TMPDIR: "/run/tmp",
    ...options.environment,
    WGMON_TEST_OUT: results,
  };
  const exports = Object.entries(environment).map(
    ([name, value]) => `export ${name}=${quote(value ?? "")}`,
  );
  const body = `
${exports.join("\n")}
ip link set lo up
cd ${quote(resolve(options.cwd ?? "."))} || cd /
exec 3> >(exec cat >/dev/vport*)
${command.map(quote).join(" ")} </dev/null >&3 2>&1 3>&-
echo $? >${quote(status)}
exec 3>&-
# A process that the command left behind may hold the channel open: waits at most a second for the rest of the output.
for ((i = 0; i < 20; i++)); do [ -d /proc/$! ] || break; sleep 0.05; done
echo o >/proc/sysrq-trigger
sleep 10
`;
  return `
mount -t tmpfs run /run
mkdir -p /run/netns /run/tmp /dev/pts /dev/shm
mount -t devpts devpts /dev/pts; mount -t tmpfs shm /dev/shm
ln -s /proc/self/fd /dev/fd; ln -s fd/0 /dev/stdin; ln -s fd/1 /dev/stdout; ln -s fd/2 /dev/stderr
echo wgmon-test >/proc/sys/kernel/hostname
root=
${options.systemd === undefined ? "" : SYSTEMD_ROOT}
mkdir -p "$root"/lib/modules "$root"${quote(results)}
mount -t 9p -o ${SHARE_OPTIONS} results "$root"${quote(results)}
mount --bind ${quote(image.modules)} "$root"/lib/modules
${options.systemd === undefined ? body : systemdStart(body)}
`;
}

/** Starts systemd, which runs the script after multi-user.target. */
function systemdStart(script: string): string {
  return `
mkdir -p $root/etc/systemd/system/multi-user.target.wants
cat >$root/etc/systemd/system/wgmon-test.service <<'END'
[Unit]
After=multi-user.target
[Service]
ExecStart=/bin/bash /etc/wgmon-test
[Install]
WantedBy=default.target
END
cat >$root/etc/wgmon-test <<'END'
${script}
END
: >$root/etc/machine-id
cd $root/etc/systemd/system
ln -s ../wgmon-test.service multi-user.target.wants/
ln -sf /lib/systemd/system/multi-user.target default.target
# Disables units for logins and for persistent state.
for unit in console-getty getty@ serial-getty@ systemd-random-seed systemd-update-utmp \
  systemd-pstore systemd-rfkill modprobe@; do ln -sf /dev/null $unit.service; done
for unit in apt-daily apt-daily-upgrade dpkg-db-backup e2scrub_all fstrim systemd-tmpfiles-clean
do ln -sf /dev/null $unit.timer; done
cd /
exec /usr/sbin/switch_root $root /sbin/init
`;
}

function quote(text: string): string {
  return `'${text.replaceAll("'", `'\\''`)}'`;
}

interface Image {
  readonly kernel: string;
  readonly initramfs: string;
  /** Mounted in the guest as /lib/modules. */
  readonly modules: string;
}

/** The kernel and its initramfs, built once and cached. Concurrent builds are safe. */
async function preparedImage(): Promise<Image> {
  const cache = join(process.env["XDG_CACHE_HOME"] || join(homedir(), ".cache"), "wgmon-test-vm");
  const folder = join(cache, Bun.hash(INIT + BOOT_MODULES.join(" ")).toString(36));
  const image = {
    kernel: join(folder, "kernel"),
    initramfs: join(folder, "initramfs"),
    modules: join(folder, "package/lib/modules"),
  };
  if (await Bun.file(image.initramfs).exists()) return image;
  await mkdir(cache, { recursive: true });
  const building = await mkdtemp(join(cache, "building-"));
  try {
    await buildImage(building);
    await rename(building, folder);
  } catch (error) {
    // Another process has finished the same image first.
    if (!(await Bun.file(image.initramfs).exists())) throw error;
  } finally {
    await rm(building, { recursive: true, force: true });
  }
  return image;
}

async function buildImage(folder: string): Promise<void> {
  console.error("test machine: fetching Debian's kernel (once)");
  const release = await unpackKernel(folder);
  const boot = join(folder, "package/boot");
  const kernel = await readFile(join(boot, `vmlinuz-${release}`));
  const config = await readFile(join(boot, `config-${release}`), "utf8");
  await writeFile(join(folder, "kernel"), bootable(kernel, config));
  await rm(boot, { recursive: true });

  const root = join(folder, "root");
  const modules = join(folder, "package/lib/modules", release);
  run(["depmod", "-b", join(folder, "package"), release]);
  for (const name of ["bin", "modules", "proc", "sys", "dev", "lower", "upper", "root"]) {
    await mkdir(join(root, name), { recursive: true });
  }
  await copyFile(which("busybox")!, join(root, "bin/busybox"));
  await writeFile(join(root, "init"), INIT, { mode: 0o755 });
  const order = loadOrder(await readFile(join(modules, "modules.dep"), "utf8"), BOOT_MODULES);
  for (const file of order)
    await copyFile(join(modules, file), join(root, "modules", basename(file)));
  await writeFile(
    join(root, "modules/order"),
    `${order.map((file) => basename(file)).join("\n")}\n`,
  );
  // Sorted, because the kernel needs each folder before the files in it.
  const names = (await readdir(root, { recursive: true })).sort().join("\n");
  const archive = run(["busybox", "cpio", "-o", "-H", "newc"], {
    cwd: root,
    stdin: names,
  });
  await writeFile(join(folder, "initramfs"), archive);
  await rm(root, { recursive: true });
}

/** Downloads and unpacks the kernel package that linux-image-amd64 depends on. Resolves with the kernel release. */
async function unpackKernel(folder: string): Promise<string> {
  const find = (): string | undefined =>
    /Depends: (linux-image-\S+)/.exec(
      run(["apt-cache", "depends", "linux-image-amd64"]).toString(),
    )?.[1];
  const download = (): void => {
    const name = find();
    if (name === undefined) throw new Error("apt knows no package linux-image-amd64");
    run(["apt-get", "download", "-qq", "-o", "APT::Sandbox::User=root", name], { cwd: folder });
  };
  try {
    download();
  } catch (error) {
    if (process.getuid?.() !== 0) {
      throw new Error(`cannot fetch Debian's kernel for the test machine: ${String(error)}`, {
        cause: error,
      });
    }
    // The package lists are missing, or older than the archive.
    run(["apt-get", "update", "-qq"]);
    download();
  }
  const archive = (await readdir(folder)).find((name) => name.endsWith(".deb"))!;
  run(["dpkg-deb", "-x", join(folder, archive), join(folder, "package")]);
  await rm(join(folder, archive));
  return (await readdir(join(folder, "package/lib/modules")))[0]!;
}

/**
 * The decompressed kernel, because decompression takes seconds at each start on an emulated processor.
 * Documentation/arch/x86/boot.rst: setup_sects, payload_offset, payload_length. QEMU starts such a file only if the
 * kernel supports PVH.
 */
function bootable(kernel: Buffer, config: string): Uint8Array {
  if (!config.includes("CONFIG_PVH=y")) return kernel;
  const start = (kernel.readUInt8(0x1f1) + 1) * 512 + kernel.readUInt32LE(0x248);
  // The last four bytes are the unpacked size.
  const payload = kernel.subarray(start, start + kernel.readUInt32LE(0x24c) - 4);
  const magic = payload.readUInt32BE(0);
  if (magic === 0xfd377a58) return run(["xz", "-dc"], { stdin: payload });
  if (magic === 0x28b52ffd) return Bun.zstdDecompressSync(payload);
  return kernel;
}

/** The files of the modules `names` and of their dependencies; each file follows its own dependencies. */
function loadOrder(modulesDep: string, names: readonly string[]): string[] {
  const order = new Set<string>();
  for (const name of names) {
    const line = modulesDep.split("\n").find((each) => each.includes(`/${name}.ko:`));
    // The module is built into the kernel.
    if (line === undefined) continue;
    const [file, needs = ""] = line.split(":");
    for (const need of needs.split(" ").filter(Boolean).reverse()) order.add(need);
    order.add(file!);
  }
  return [...order];
}

function which(program: string): string | null {
  return Bun.which(program, { PATH: SEARCH_PATH });
}

function run(
  command: readonly string[],
  options: { cwd?: string; stdin?: string | Uint8Array } = {},
) {
  const [program, ...rest] = command;
  const { stdin } = options;
  const done = Bun.spawnSync([which(program!) ?? program!, ...rest], {
    ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
    stdin: stdin === undefined ? "ignore" : Buffer.from(stdin),
    stderr: "pipe",
  });
  if (done.exitCode !== 0)
    throw new Error(`${command.join(" ")}: ${done.stderr.toString().trim()}`);
  return done.stdout;
}

if (import.meta.main) {
  // Bun consumes the --, so the command begins after the options.
  const words = process.argv.slice(2);
  const settings = new Map([
    ["--timeout", "300s"],
    ["--cpus", "2"],
    ["--memory", "3072"],
    ["--clock", "time"],
  ]);
  while (settings.has(words[0] ?? "")) settings.set(words.shift()!, words.shift() ?? "");
  if (words[0] === "--") words.shift();
  if (words.length === 0) {
    const options = [...settings].map(([name, value]) => `[${name} ${value}]`).join(" ");
    console.error(`usage: bun test/support/vm.ts ${options} -- COMMAND...`);
    process.exit(2);
  }
  const { exitCode } = await runInVm(words, {
    timeoutMs: Number.parseFloat(settings.get("--timeout")!) * 1000,
    cpus: Number(settings.get("--cpus")),
    memoryMib: Number(settings.get("--memory")),
    countsInstructions: settings.get("--clock") === "instructions",
  });
  if (exitCode === 124)
    console.error(`test machine: switched off after ${settings.get("--timeout")}`);
  process.exitCode = exitCode;
}
