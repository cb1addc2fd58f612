/** `wgmon doctor` on a gateway: checks whether its NATS servers can be reached. Does not log in. */

import { connect } from "node:net";

import { type Finding, ok, problem, warning } from "../../base/check.ts";

const TIMEOUT_MS = 5000;
/** The first line of a server is shorter. */
const LINE_MAX = 65_536;

/** @param url `tls://n1.example.net:4222,n2.example.net:4222`, without user and password. */
export async function checkNatsServers(label: string, url: string): Promise<Finding[]> {
  const servers = url.replace(/^\w+:\/\//, "").split(",");
  const findings = await Promise.all(servers.map((server) => checkServer(label, server)));
  const areAllDown = findings.every(({ verdict }) => verdict !== "ok");
  // One server is enough.
  return findings.map((finding) =>
    finding.verdict === "problem" && !areAllDown ? warning(finding.found, finding.fix) : finding,
  );
}

async function checkServer(label: string, server: string): Promise<Finding> {
  const startMs = performance.now();
  const result = await firstLine(server);
  const ms = Math.round(performance.now() - startMs);
  if (result.startsWith("INFO ")) return ok(`${label}: ${server} can be reached, ${ms} ms`);
  const reason = result === "" ? "it is not a NATS server" : result;
  return problem(`${label}: ${server}: ${reason}`, "check the address, DNS and the route");
}

/** The line that a NATS server sends first, or why it sent no line. */
async function firstLine(server: string): Promise<string> {
  const [, host = "", port = ""] = /^(.*):(\d+)$/.exec(server) ?? [];
  const { promise, resolve } = Promise.withResolvers<string>();
  const socket = connect({ host: host.replace(/^\[|\]$/g, ""), port: Number(port) });
  let text = "";
  socket.setTimeout(TIMEOUT_MS, () => resolve(`no answer in ${TIMEOUT_MS / 1000} s`));
  socket.on("error", (error: NodeJS.ErrnoException) => resolve(error.code ?? error.message));
  socket.on("close", () => resolve(""));
  socket.on("data", (data) => {
    text += data.toString("latin1");
    if (text.includes("\n") || text.length > LINE_MAX) {
      resolve(text.startsWith("INFO ") ? text : "it is not a NATS server");
    }
  });
  const line = await promise;
  socket.destroy();
  return line;
}
