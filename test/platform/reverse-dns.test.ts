/** The seam to the DNS resolver, with a DNS server of the test: names, failures, the end of a lookup. */

import { afterEach, beforeEach, expect, test } from "bun:test";

import { reverseLookup } from "../../src/platform/reverse-dns.ts";
import { until } from "../support/until.ts";

const [NO_ERROR, SERVER_FAILURE, NAME_ERROR] = [0, 2, 3];
const PTR = 12;

/** The answers of the DNS server; null: it does not answer. */
let answer: { readonly code: number; readonly names: readonly (readonly string[])[] } | null;
let questions: number;
let server: Bun.udp.Socket<"buffer">;

beforeEach(async () => {
  answer = { code: NO_ERROR, names: [] };
  questions = 0;
  server = await Bun.udpSocket({
    hostname: "127.0.0.1",
    socket: {
      data(socket, query, port, address) {
        questions++;
        if (answer !== null) socket.send(answerTo(query, answer.code, answer.names), port, address);
      },
    },
  });
});

afterEach(() => server.close());

/** A DNS message (RFC 1035, section 4) with a PTR record for each name, which is a list of labels. */
function answerTo(query: Buffer, code: number, names: readonly (readonly string[])[]): Buffer {
  // The question ends with a zero byte, the type and the class. Later sections, such as EDNS, are left out.
  const question = query.subarray(12, query.indexOf(0, 12) + 5);
  const header = Buffer.from(query.subarray(0, 12));
  header.writeUInt16BE(0x8180 | code, 2);
  header.writeUInt16BE(names.length, 6);
  header.writeUInt32BE(0, 8);
  const records = names.map((labels) => {
    const name = labels.map((label) => {
      const bytes = Buffer.from(label, "latin1");
      return Buffer.concat([Buffer.from([bytes.length]), bytes]);
    });
    const data = Buffer.concat([...name, Buffer.from([0])]);
    const fields = Buffer.alloc(12);
    // A pointer to the name in the question.
    fields.writeUInt16BE(0xc00c, 0);
    fields.writeUInt16BE(PTR, 2);
    fields.writeUInt16BE(1, 4);
    fields.writeUInt32BE(60, 6);
    fields.writeUInt16BE(data.length, 10);
    return Buffer.concat([fields, data]);
  });
  return Buffer.concat([header, question, ...records]);
}

/** The names, or the code of the error. */
async function lookUp(address: string, signal = new AbortController().signal): Promise<unknown> {
  try {
    return await reverseLookup(address, signal, [`127.0.0.1:${server.port}`]);
  } catch (error) {
    return (error as { code?: unknown }).code;
  }
}

test("returns the names of an IPv4 and an IPv6 address", async () => {
  answer = { code: NO_ERROR, names: [["host", "example", "net"]] };
  expect(await lookUp("192.0.2.1")).toEqual(["host.example.net"]);
  expect(await lookUp("2001:db8::1")).toEqual(["host.example.net"]);
  expect(questions).toBe(2);
});

test.each([
  ["the address has no name", { code: NAME_ERROR, names: [] }],
  ["there is no record", { code: NO_ERROR, names: [] }],
  ["the server fails", { code: SERVER_FAILURE, names: [] }],
])("rejects if %s", async (_, given) => {
  answer = given;
  expect(await lookUp("192.0.2.1")).toBeString();
});

test("rejects if the address is invalid", async () => {
  expect(await lookUp("nonsense")).toBeString();
  expect(questions).toBe(0);
});

test("a server that does not answer is not waited for after the signal", async () => {
  answer = null;
  const controller = new AbortController();
  const result = lookUp("192.0.2.1", controller.signal);
  await until("the server was asked", () => questions > 0);
  controller.abort();
  expect(await result).toBeString();
});

test("an aborted signal causes no question", async () => {
  await lookUp("192.0.2.1", AbortSignal.abort());
  expect(questions).toBe(0);
});

test.each([
  ["a b", "a b.example"],
  ["<b>", "<b>.example"],
  ["a.b", "a\\.b.example"],
  ["\x1b[2J\0", "\\027[2J\\000.example"],
  ["\xe2\x80\xae", "\\226\\128\\174.example"],
])("other bytes than printable ASCII are escaped: %j", async (label, name) => {
  answer = { code: NO_ERROR, names: [[label, "example"]] };
  expect(await lookUp("192.0.2.1")).toEqual([name]);
});
