/** Static checks of the files in deploy/: systemd's tools, shellcheck, and the capabilities. */

import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import { expect, run, skip, step } from "./steps.ts";

const DEPLOY = join(import.meta.dir, "../../deploy");
const CAPABILITIES = "NET_ADMIN NET_RAW";

export async function checkFiles(work: string, binary: string): Promise<void> {
  if (Bun.which("systemd-analyze") === null) {
    skip("unit", "systemd-analyze is not installed");
  } else {
    await step("unit: systemd-analyze finds no error and an exposure of at most 2.0", () => {
      const unit = join(work, "wgmon.service");
      writeFileSync(unit, read("wgmon.service").replaceAll("/usr/bin/wgmon", binary));
      // The exit code is 0 even for unknown keys.
      const complaint = run(["systemd-analyze", "verify", "--man=no", unit]);
      expect(complaint === "", complaint);
      run([
        ..."systemd-analyze security --offline=true --no-pager --threshold=20".split(" "),
        unit,
      ]);
    });
  }
  await step("unit: it has the settings that wgmon needs, and none that break wgmon", () => {
    const unit = read("wgmon.service");
    for (const line of [
      "Type=notify",
      "DynamicUser=yes",
      "AmbientCapabilities=CAP_NET_ADMIN CAP_NET_RAW",
      "CapabilityBoundingSet=CAP_NET_ADMIN CAP_NET_RAW",
      "WatchdogSignal=SIGKILL",
    ]) {
      expect(unit.includes(`\n${line}\n`), `${line} is missing`);
    }
    // bun:ffi needs the JIT; the capabilities must apply to the machine's own network namespace.
    const harm = /^(MemoryDenyWriteExecute|PrivateUsers|PrivateNetwork|LimitAS)=.*$/m.exec(unit);
    expect(harm === null, `${harm?.[0]} must not be set`);
  });
  await step("compose, kube, quadlet: two capabilities and a read-only root", () => {
    const compose = (Bun.YAML.parse(read("compose.yaml")) as ComposeFile).services.wgmon;
    const asked = `${compose.cap_drop.join()} ${compose.cap_add.join(" ")} ${compose.read_only}`;
    expect(asked === `ALL ${CAPABILITIES} true`, `compose.yaml: ${asked}`);
    const kube = Bun.YAML.parse(read("kube.yaml")) as KubeFile;
    const [{ securityContext: context }] = kube.spec.containers;
    const { drop, add } = context.capabilities;
    const given = `${drop.join()} ${add.join(" ")} ${context.readOnlyRootFilesystem}`;
    expect(given === `ALL ${CAPABILITIES} true`, `kube.yaml: ${given}`);
    const quadlet = read("wgmon.container");
    for (const line of [
      "DropCapability=all",
      "AddCapability=CAP_NET_ADMIN CAP_NET_RAW",
      "ReadOnly=true",
    ]) {
      expect(quadlet.includes(`\n${line}\n`), `wgmon.container: ${line} is missing`);
    }
  });
  if (Bun.which("shellcheck") === null) {
    skip("scripts", "shellcheck is not installed");
  } else {
    await step("scripts: shellcheck finds nothing", () => {
      const scripts = ["entrypoint", "debian/postinst", "debian/prerm", "debian/postrm"];
      run(["shellcheck", ...scripts.map((script) => join(DEPLOY, script))]);
    });
  }
}

function read(file: string): string {
  return readFileSync(join(DEPLOY, file), "utf8");
}

interface ComposeFile {
  readonly services: {
    readonly wgmon: {
      readonly cap_drop: readonly string[];
      readonly cap_add: readonly string[];
      readonly read_only: boolean;
    };
  };
}

interface KubeFile {
  readonly spec: {
    readonly containers: readonly [
      {
        readonly securityContext: {
          readonly readOnlyRootFilesystem: boolean;
          readonly capabilities: {
            readonly drop: readonly string[];
            readonly add: readonly string[];
          };
        };
      },
    ];
  };
}
