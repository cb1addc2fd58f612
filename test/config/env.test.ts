/** Variables that begin with WGMON_ and are not settings: which are ignored, and which are errors or warnings. */

import { describe, expect, test } from "bun:test";

import { readVariables } from "../../src/config/env.ts";
import { SETTING_NAMES, variableOf } from "../../src/config/settings-table.ts";

function read(env: Record<string, string>) {
  const problems: string[] = [];
  const notes: string[] = [];
  const found = readVariables(env, problems, notes);
  return { problems, notes, names: [...found.keys()] };
}

const NOTHING = { problems: [], notes: [], names: [] };

describe("variables of Kubernetes and Docker", () => {
  /** The variables that the kubelet sets: pkg/kubelet/envvars. */
  const kubernetes = (prefix: string, proto: string) => ({
    [`${prefix}_SERVICE_HOST`]: "10.96.0.7",
    [`${prefix}_SERVICE_PORT`]: "9587",
    [`${prefix}_SERVICE_PORT_HTTP`]: "9587",
    [`${prefix}_SERVICE_PORT_WEB_UI`]: "9587",
    [`${prefix}_PORT`]: `${proto}://10.96.0.7:9587`,
    [`${prefix}_PORT_9587_${proto.toUpperCase()}`]: `${proto}://10.96.0.7:9587`,
    [`${prefix}_PORT_9587_${proto.toUpperCase()}_PROTO`]: proto,
    [`${prefix}_PORT_9587_${proto.toUpperCase()}_PORT`]: "9587",
    [`${prefix}_PORT_9587_${proto.toUpperCase()}_ADDR`]: "10.96.0.7",
  });
  /** The variables that Docker sets for `--link other:wgmon-web`. */
  const docker = (prefix: string, alias: string) => ({
    [`${prefix}_NAME`]: `/other/${alias}`,
    [`${prefix}_PORT`]: "udp://172.17.0.5:51820",
    [`${prefix}_PORT_51820_UDP_START`]: "udp://172.17.0.5:51820",
    [`${prefix}_PORT_51820_UDP_END`]: "udp://172.17.0.5:51829",
    [`${prefix}_ENV_PATH`]: "/usr/bin",
    [`${prefix}_ENV_WEBHOOK`]: "https://a.example",
  });

  // Also with the names of settings, because a service may be called wgmon-listen.
  test.each([
    "",
    "_METRICS",
    "_HTTP",
    "_WEB_UI",
    "_2",
    ...SETTING_NAMES.map((name) => variableOf(name).slice(5)),
  ])("variables of Kubernetes and Docker that begin with WGMON%s are ignored", (suffix) => {
    for (const proto of ["tcp", "udp", "sctp"]) {
      expect(read(kubernetes(`WGMON${suffix}`, proto))).toEqual(NOTHING);
    }
    const alias = `wgmon${suffix.toLowerCase().replaceAll("_", "-")}`;
    expect(read(docker(`WGMON${suffix}`, alias))).toEqual(NOTHING);
  });
});

describe("other unknown variables", () => {
  test.each([
    ["WGMON_INTERFAC", "WGMON_INTERFACE"],
    ["WGMON_NAME", "WGMON_NAMES"],
    ["WGMON_WEBHOKS", "WGMON_WEBHOOK"],
    ["WGMON_LOGLEVEL", "WGMON_LOG_LEVEL"],
    ["WGMON_WEBHOOK_URL", "WGMON_WEBHOOK_FILE"],
  ])("the unknown variable %s is a misspelling of %s", (variable, meant) => {
    expect(read({ [variable]: "/etc/x" })).toEqual({
      ...NOTHING,
      problems: [`${variable}: there is no such variable; did you mean ${meant}?`],
    });
  });

  // src/channels/exec.ts sets them: a wgmon that such a program starts inherits them.
  test.each([
    "EVENT_ID",
    "EVENT_TYPE",
    "TIMESTAMP",
    "PEER",
    "PEER_NAME",
    "ENDPOINT",
    "TEXT",
    "COUNT",
  ])("the variable WGMON_%s of an exec target is not an error", (name) => {
    expect(read({ [`WGMON_${name}`]: "x" }).problems).toEqual([]);
  });

  test("other unknown variables cause one warning", () => {
    const env = {
      WGMON_IMAGE: "x",
      WGMON_LISTEN_PORT: "9587",
    };
    expect(read({ ...env, WGMON_TICK: "1s" })).toEqual({
      problems: [],
      names: ["tick"],
      notes: [
        "unknown environment variables are ignored: WGMON_IMAGE, WGMON_LISTEN_PORT (did you mean WGMON_LISTEN?)",
      ],
    });
    const many = Object.fromEntries(
      ["A", "B", "C", "D", "E", "F", "G"].map((each) => [`WGMON_XYZ_${each}${each}`, "x"]),
    );
    expect(read(many).notes).toEqual([
      "unknown environment variables are ignored: WGMON_XYZ_AA, WGMON_XYZ_BB, WGMON_XYZ_CC, WGMON_XYZ_DD, WGMON_XYZ_EE, 2 more",
    ]);
  });
});
