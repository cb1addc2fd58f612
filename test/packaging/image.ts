/**
 * Builds the image from the real Containerfile, with local replacements for its base images, and runs it. podman's
 * store is a temporary folder: this machine's own images and networks are not changed.
 */

import {
  copyFileSync,
  existsSync,
  mkdirSync,
  readFileSync,
  realpathSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";

import { until } from "../support/until.ts";
import type { Roots } from "./roots.ts";
import { expect, run, step } from "./steps.ts";

const ROOT = join(import.meta.dir, "../..");
const IMAGE = "localhost/wgmon:latest";
/** This machine's CA certificates, which may include one for a local registry proxy. */
const CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt";
const MAX_BYTES = 450e6;
/** Build tools that must not be in the image. */
const BUILD_TOOLS = ["bun", "node", "npm", "gcc", "make", "git"];
const RIGHTS =
  "--pull=never --read-only --network=host --cap-drop=all --cap-add=NET_ADMIN --cap-add=NET_RAW --security-opt=no-new-privileges";
const SHELL = "run --rm --pull=never --no-healthcheck --network=none --entrypoint=/bin/sh";
/** Starts wgmon without WireGuard: it waits for a device and captures with bpf. */
const WATCH_ONLY = "-e intfname= -e WGMON_MONITOR=bpf -e WGMON_INTERFACE=any";

export class Image implements Disposable {
  readonly #work: string;
  readonly #roots: Roots;

  constructor(work: string, roots: Roots) {
    this.#work = join(work, "podman");
    this.#roots = roots;
    mkdirSync(this.#work);
    const storage = join(this.#work, "storage.conf");
    const containers = join(this.#work, "containers.conf");
    writeFileSync(
      storage,
      `[storage]\ndriver = "overlay"\ngraphroot = "${this.store}"\nrunroot = "${this.#work}/run"\n`,
    );
    // The test machine may not permit raising limits or managing control groups.
    writeFileSync(
      containers,
      `[containers]
default_ulimits = ["nofile=16384:16384", "nproc=4096:4096"]
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
runtime = "runc"
tmp_dir = "${this.#work}/libpod"
[network]
network_backend = "netavark"
network_config_dir = "${this.#work}/networks"
`,
    );
    process.env["CONTAINERS_STORAGE_CONF"] = storage;
    process.env["CONTAINERS_CONF"] = containers;
  }

  /** Path of podman's store. */
  get store(): string {
    return join(this.#work, "store");
  }

  /** Runs all steps; resolves with whether the image was built. */
  async check(): Promise<boolean> {
    await step("compose.yaml, wgmon.container: docker-compose and quadlet accept them", () =>
      this.#validate(),
    );
    const isBuilt = await step("image: the Containerfile builds it", () => this.#build());
    if (!isBuilt) return false;
    await step("image: it is small and has no build tools", () => {
      const bytes = Number(run(["podman", "image", "inspect", "--format", "{{.Size}}", IMAGE]));
      expect(bytes < MAX_BYTES, `it has ${bytes / 1e6} MB`);
      const script = `for tool in ${BUILD_TOOLS.join(" ")}; do ! command -v $tool; done; ls /var/lib/apt/lists`;
      const found = this.#podman(SHELL, IMAGE, "-c", script);
      expect(found === "", `in it: ${found}`);
      const tools = "command -v nft && command -v wg-quick && wgmon --version";
      this.#podman(SHELL, IMAGE, "-c", tools);
    });
    await step("container: without an interface and a configuration, it says so", () => {
      const said = run(["podman", "run", "--rm", ...RIGHTS.split(" "), IMAGE], { mayFail: true });
      expect(/no interface wg0 and no \/etc\/wireguard\/wg0\.conf/.test(said), said);
      const other = ["podman", "run", "--rm", "-e", "intfname=wg7", ...RIGHTS.split(" "), IMAGE];
      const saidOther = run(other, { mayFail: true });
      expect(/no interface wg7 and no \/etc\/wireguard\/wg7\.conf/.test(saidOther), saidOther);
      const version = this.#podman("run --rm", IMAGE, "--version");
      expect(version.startsWith("wgmon "), version);
    });
    await step("container: it watches with two capabilities and a read-only root", async () => {
      this.#podman(`run -d --name watch ${RIGHTS} ${WATCH_ONLY}`, IMAGE);
      await until("ready", () => /ready monitor=bpf/.test(run(["podman", "logs", "watch"])));
      const log = run(["podman", "logs", "watch"]);
      expect(!/cannot|EROFS|EPERM|EACCES/.test(log), log);
      await until("health", () => this.#isHealthy("watch"));
      run(["podman", "stop", "-t", "20", "watch"]);
      const code = run(["podman", "inspect", "--format", "{{.State.ExitCode}}", "watch"]).trim();
      expect(code === "0", `exit code ${code}`);
      run(["podman", "rm", "-v", "watch"]);
    });
    await step("kube.yaml: podman kube play runs it", async () => {
      const file = join(this.#work, "kube.yaml");
      const folders = /path: (\/(?:etc|var)\/[\w/]+)/g;
      const text = readFileSync(join(ROOT, "deploy/kube.yaml"), "utf8");
      writeFileSync(file, text.replace(folders, `path: ${this.#work}$1`));
      for (const [, folder] of text.matchAll(folders)) {
        mkdirSync(join(this.#work, folder!), { recursive: true });
      }
      // In a folder without the file wgmon: podman would try to build the image from it.
      run(["podman", "kube", "play", file], { cwd: this.#work });
      try {
        const name = "wgmon-wgmon";
        await until("ready", () => /ready monitor=bpf/.test(run(["podman", "logs", name])));
        await until("health", () => this.#isHealthy(name));
        const store = join(this.#work, "var/lib/wgmon/wgmon.db");
        await until("the store", () => existsSync(store));
      } finally {
        run(["podman", "kube", "play", "--down", file]);
      }
    });
    return true;
  }

  /** Removes containers that a failed step may have left running. */
  [Symbol.dispose](): void {
    Bun.spawnSync(["podman", "rm", "--all", "--force", "--time=0"], { env: process.env });
  }

  #build(): void {
    const text = readFileSync(join(ROOT, "Containerfile"), "utf8");
    const base = (name: string): string => new RegExp(`^ARG ${name}=(.*)$`, "m").exec(text)![1]!;
    run(["podman", "import", "-q", this.#roots.base, base("DEBIAN")]);
    const folder = join(this.#work, "bun");
    mkdirSync(folder);
    copyFileSync(realpathSync(process.execPath), join(folder, "bun"));
    const trust = existsSync(CERTIFICATES)
      ? `COPY certificates ${CERTIFICATES}\nENV NODE_EXTRA_CA_CERTS=${CERTIFICATES}\n`
      : "";
    if (trust !== "") copyFileSync(CERTIFICATES, join(folder, "certificates"));
    writeFileSync(
      join(folder, "Containerfile"),
      `FROM ${base("DEBIAN")}\nCOPY bun /usr/local/bin/bun\n${trust}`,
    );
    const build = "build -q --isolation=chroot --pull=never --format=docker";
    this.#podman(`${build} -t ${base("BUN")}`, folder);
    this.#podman(`${build} -t ${IMAGE}`, ROOT);
  }

  #validate(): void {
    const { validators } = this.#roots;
    // In deploy/, because docker-compose checks that the referenced files exist.
    const compose = join(validators, "usr/libexec/docker/cli-plugins/docker-compose");
    run([compose, "-f", join(ROOT, "deploy/compose.yaml"), "config", "-q"]);
    const units = join(this.#work, "quadlet");
    mkdirSync(units);
    copyFileSync(join(ROOT, "deploy/wgmon.container"), join(units, "wgmon.container"));
    const quadlet = run([join(validators, "usr/libexec/podman/quadlet"), "--dryrun"], {
      env: { QUADLET_UNIT_DIRS: units },
    });
    expect(quadlet.includes("---wgmon.service---"), quadlet);
  }

  #isHealthy(name: string): boolean {
    const { exitCode } = Bun.spawnSync(["podman", "healthcheck", "run", name], {
      // Without this, spawn uses the original environment, without the changes to process.env.
      env: process.env,
    });
    return exitCode === 0;
  }

  #podman(words: string, ...more: readonly string[]): string {
    return run(["podman", ...words.split(" "), ...more]);
  }
}
