/** The files of deploy/ by what anybody can check: systemd's own tools, shellcheck, and their rights. */

import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import { expect, run, skip, step } from "./steps.ts";

const DEPLOY = join(import.meta.dir, "../../deploy");
const CAPABILITIES = "NET_ADMIN NET_RAW";

export async function checkFiles(work: string, binary: string): Promise<void> {
  if (Bun.which("systemd-analyze") === null) {
    skip("unit", "no systemd-analyze here");
  } else {
    await step("unit: systemd-analyze finds nothing wrong, and 2.0 or better", () => {
      const unit = join(work, "wgmon.service");
      writeFileSync(unit, read("wgmon.service").replaceAll("/usr/bin/wgmon", binary));
      // Its exit code says nothing about unknown keys.
      const complaint = run(["systemd-analyze", "verify", "--man=no", unit]);
      expect(complaint === "", complaint);
      run([
        ..."systemd-analyze security --offline=true --no-pager --threshold=20".split(" "),
        unit,
      ]);
    });
  }
  await step("unit: it has what the program needs, and nothing that breaks it", () => {
    const unit = read("wgmon.service");
    for (const line of [
      "Type=notify",
      "DynamicUser=yes",
      "AmbientCapabilities=CAP_NET_ADMIN CAP_NET_RAW",
      "CapabilityBoundingSet=CAP_NET_ADMIN CAP_NET_RAW",
      "WatchdogSignal=SIGKILL",
    ]) {
      expect(unit.includes(`\n${line}\n`), `there is no ${line}`);
    }
    // bun:ffi needs the JIT; capabilities must be those of the machine's own network.
    const harm = /^(MemoryDenyWriteExecute|PrivateUsers|PrivateNetwork|LimitAS)=.*$/m.exec(unit);
    expect(harm === null, `${harm?.[0]} must not be there`);
  });
  await step("compose, kube, quadlet: two capabilities, a root that cannot be written", () => {
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
      expect(quadlet.includes(`\n${line}\n`), `wgmon.container: there is no ${line}`);
    }
  });
  if (Bun.which("shellcheck") === null) {
    skip("scripts", "no shellcheck here");
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
