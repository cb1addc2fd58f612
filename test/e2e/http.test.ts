/**
 * The API of the binary, over its Unix socket. Elysia reads its own source code at run time, so a flag of
 * the bundler could silently change what it checks: the answers of binary and source are compared.
 */

import { expect, test } from "bun:test";
import { chmodSync, statSync } from "node:fs";

import { type Document, type Fuzz, fuzzBytes, fuzzRequests } from "../support/api-fuzz.ts";
import { newStateFolder } from "../support/state.ts";
import { TEST_MS } from "../support/until.ts";
import { startWgmon, type Wgmon } from "../support/wgmon.ts";

const POLL = [
  "--monitor",
  "poll",
  "--device",
  "wgtest-none",
  "--host",
  "gw1",
  "--log-level",
  "debug",
];
const ONE_KEY = "A".repeat(43);

/** Valid and invalid values of all kinds of parameters. */
const requests = [
  "GET /healthz",
  "GET /readyz",
  "GET /v1/devices",
  "GET /v1/peers?limit=3&offset=0&sort=name&order=desc&state=disconnected",
  "GET /v1/peers?limit=0",
  "GET /v1/peers?limit=x",
  "GET /v1/peers?limit=1001",
  "GET /v1/peers?limt=1",
  "GET /v1/peers?sort=size",
  "GET /v1/peers?device=",
  "GET /v1/events?since=yesterday",
  "GET /v1/events?since=2026-01-01T00:00:00Z&order=oldest",
  "GET /v1/events?cursor=%00",
  `GET /v1/peers/wg0/${ONE_KEY}`,
  "GET /v1/peers/wg0/short",
  `GET /v1/sessions?peer=${ONE_KEY}&state=open`,
  "GET /v1/sessions?cursor=zzz",
  "GET /v1/stream?after=-1",
  "GET /v1/targets",
  "GET /v1/targets/nobody/outbox?state=dead-letter",
  "DELETE /v1/peers",
  "GET /v1/scan",
  "GET /v1/nothing",
  "GET /v1/openapi.json",
] as const;

async function answers(wgmon: Wgmon, socket: string): Promise<Record<string, string>> {
  await wgmon.waitForLog(({ msg }) => msg === "listening");
  const found: Record<string, string> = {};
  for (const request of requests) {
    const [method, path] = request.split(" ") as [string, string];
    const response = await fetch(`http://localhost${path}`, { method, unix: socket });
    found[request] = `${response.status} ${await response.text()}`;
  }
  expect(statSync(socket).mode & 0o777).toBe(0o600);
  expect(await wgmon.stop()).toBe(0);
  return found;
}

async function answersOf(binary?: "source"): Promise<Record<string, string>> {
  const folder = newStateFolder();
  const environment = { RUNTIME_DIRECTORY: folder };
  const options = binary === undefined ? { environment } : { environment, binary };
  await using wgmon = startWgmon(POLL, options);
  return await answers(wgmon, `${folder}/wgmon.sock`);
}

test(
  "the binary gives the same answers as the source, and checks parameters",
  async () => {
    const [ofBinary, ofSource] = [await answersOf(), await answersOf("source")];
    expect(ofBinary).toEqual(ofSource);
    const statuses = Object.entries(ofBinary).map(
      ([request, text]) => `${text.slice(0, 3)} ${request}`,
    );
    expect(statuses.filter((line) => line.startsWith("2"))).toHaveLength(8);
    expect(statuses.filter((line) => line.startsWith("422"))).toHaveLength(11);
    expect(statuses.filter((line) => line.startsWith("5"))).toEqual([]);
  },
  TEST_MS,
);

test(
  "the binary answers any request as its OpenAPI document says, and shows no secret",
  async () => {
    const folder = newStateFolder();
    const secret = "sEcReTsEcReT";
    const keyFile = `${folder}/secret`;
    await Bun.write(keyFile, `whsec_${Buffer.from(secret.repeat(3)).toString("base64")}`);
    chmodSync(keyFile, 0o600);
    const webhook = `http://user:${secret}@127.0.0.1:9/${secret}?token=${secret}`;
    const args = [
      "--webhook",
      webhook,
      "--webhook-format",
      "json",
      "--webhook-secret-file",
      keyFile,
    ];
    await using wgmon = startWgmon([...POLL, ...args], {
      environment: { RUNTIME_DIRECTORY: folder },
    });
    await wgmon.waitForLog(({ msg }) => msg === "listening");
    const unix = `${folder}/wgmon.sock`;
    const get = async (path: string) => (await fetch(`http://localhost${path}`, { unix })).json();
    const { items } = (await get("/v1/targets")) as { items: { key: string }[] };
    const fuzz: Fuzz = {
      place: { unix },
      document: (await get("/v1/openapi.json")) as Document,
      known: {
        key: items.map(({ key }) => key),
        publicKey: [ONE_KEY],
        cursor: ["1"],
        "/v1/silences": ['{"matchers":["peer=branch-*"],"for":"2h","comment":"maintenance"}'],
      },
      secrets: [secret, Buffer.from(secret.repeat(3)).toString("base64").slice(0, 20)],
      isLocked: false,
      runs: 500,
      seed: Math.floor(Math.random() * 2 ** 31),
    };
    const statuses = await fuzzRequests(fuzz);
    expect(statuses.get(200)).toBeGreaterThan(50);
    expect(statuses.get(422)).toBeGreaterThan(5);
    expect(await fuzzBytes(fuzz)).toBeGreaterThan(50);
    expect(wgmon.logText).not.toContain("a request failed");
    expect(wgmon.logText).not.toContain(secret);
    expect(await wgmon.stop()).toBe(0);
  },
  TEST_MS,
);
