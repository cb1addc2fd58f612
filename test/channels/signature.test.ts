/** Signatures, compared with the reference library of Standard Webhooks; forged ones; and that secrets stay hidden. */

import { afterEach, describe, expect, setSystemTime, test } from "bun:test";
import { inspect } from "node:util";

import fc from "fast-check";
import { Webhook } from "standardwebhooks";

import { parseSecrets, sign, SigningSecret, verify } from "../../src/channels/signature.ts";

// The example of the specification and of the libraries' own tests.
const SECRET = "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const ID = "msg_p5jXN8AQM9LWM0D4loKWxJek";
const TIMESTAMP = "1614265330";
const BODY = '{"test": 2432232314}';
const SIGNATURE = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
const NOW_MS = Number(TIMESTAMP) * 1000;

const HOW = 'make one with: echo "whsec_$(openssl rand -base64 32)"';

afterEach(() => void setSystemTime());

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);

/** The secrets of a valid file. */
function secretsOf(text: string): readonly SigningSecret[] {
  const parsed = parseSecrets(text);
  if ("problem" in parsed) throw new Error(parsed.problem);
  return parsed.value;
}

function problemOf(text: string): string {
  const parsed = parseSecrets(text);
  return "problem" in parsed ? parsed.problem : "none";
}

const keys = fc.uint8Array({ minLength: 24, maxLength: 64 });

describe("sign", () => {
  const [secret] = secretsOf(SECRET);
  const signed = { id: ID, timestamp: TIMESTAMP, body: bytes(BODY) };

  test("a signature is the one that the specification publishes", () => {
    expect(sign([secret!], signed)).toBe(SIGNATURE);
  });

  test("a signature is made with each secret", () => {
    const other = new SigningSecret(new Uint8Array(32).fill(7));
    expect(sign([other, secret!], signed)).toBe(`${other.sign(signed)} ${SIGNATURE}`);
    expect(sign([], signed)).toBe("");
  });

  test("a signature is accepted by the reference library, with each of the secrets", () => {
    fc.assert(
      fc.property(
        fc.array(keys, { minLength: 1, maxLength: 3 }),
        fc.uuid(),
        fc.jsonValue(),
        (all, id, value) => {
          const body = JSON.stringify(value);
          const timestamp = String(Math.floor(Date.now() / 1000));
          const secrets = all.map((key) => new SigningSecret(key));
          const headers = {
            "webhook-id": id,
            "webhook-timestamp": timestamp,
            "webhook-signature": sign(secrets, { id, timestamp, body: bytes(body) }),
          };
          for (const key of all) {
            expect(new Webhook(key, { format: "raw" }).verify(body, headers)).toEqual(
              JSON.parse(body),
            );
          }
        },
      ),
      { numRuns: 50 },
    );
  });

  test("a signature of the reference library is accepted", () => {
    const times = fc.integer({ min: 0, max: 4_000_000_000 });
    fc.assert(
      fc.property(
        keys,
        fc.uuid(),
        times,
        fc.string({ unit: "binary" }),
        (key, id, seconds, body) => {
          const text = `whsec_${key.toBase64()}`;
          const signature = new Webhook(text).sign(id, new Date(seconds * 1000), body);
          const headers = { id, timestamp: String(seconds), signature };
          expect(verify(secretsOf(text), headers, bytes(body), seconds * 1000)).toBe("ok");
        },
      ),
      { numRuns: 50 },
    );
  });
});

describe("verify", () => {
  const secrets = secretsOf(SECRET);
  const right = { id: ID, timestamp: TIMESTAMP, signature: SIGNATURE };

  test.each([
    ["as it was sent", {}, "ok"],
    ["with others around", { signature: `v1,AAAA v1a,x ${SIGNATURE} v2,` }, "ok"],
    ["no id", { id: null }, "webhook-id is missing"],
    ["empty id", { id: "" }, "webhook-id is missing"],
    [
      "another id",
      { id: "msg_p5jXN8AQM9LWM0D4loKWxJeK" },
      "no signature matches any of the secrets",
    ],
    ["no timestamp", { timestamp: null }, "webhook-timestamp is missing"],
    ["a word", { timestamp: "now" }, "webhook-timestamp is not a number of seconds"],
    ["empty timestamp", { timestamp: "" }, "webhook-timestamp is not a number of seconds"],
    ["a fraction", { timestamp: `${TIMESTAMP}.5` }, "webhook-timestamp is not a number of seconds"],
    ["negative", { timestamp: "-1" }, "webhook-timestamp is not a number of seconds"],
    ["exponent", { timestamp: "1e9" }, "webhook-timestamp is not a number of seconds"],
    [
      "too many digits",
      { timestamp: "1".repeat(400) },
      "webhook-timestamp is not a number of seconds",
    ],
    ["a second later", { timestamp: "1614265331" }, "no signature matches any of the secrets"],
    ["a leading zero", { timestamp: `0${TIMESTAMP}` }, "no signature matches any of the secrets"],
    ["no signature", { signature: null }, "webhook-signature is missing"],
    ["empty signature", { signature: "" }, "no signature matches any of the secrets"],
    ["no version", { signature: SIGNATURE.slice(3) }, "no signature matches any of the secrets"],
    [
      "another version",
      { signature: SIGNATURE.replace("v1", "v2") },
      "no signature matches any of the secrets",
    ],
    [
      "its beginning",
      { signature: SIGNATURE.slice(0, 8) },
      "no signature matches any of the secrets",
    ],
    ["nothing of it", { signature: "v1," }, "no signature matches any of the secrets"],
    ["more of it", { signature: `${SIGNATURE}AA` }, "no signature matches any of the secrets"],
    [
      "a comma between",
      { signature: `v1,AAAA,${SIGNATURE}` },
      "no signature matches any of the secrets",
    ],
  ])(
    "verify returns the expected result for a message in this case: %s",
    (_name, changed, result) => {
      expect(verify(secrets, { ...right, ...changed }, bytes(BODY), NOW_MS)).toBe(result as never);
    },
  );

  test("verify notices a change of any bit of the body", () => {
    const body = bytes(BODY);
    for (let bit = 0; bit < body.length * 8; bit++) {
      const changed = body.slice();
      changed[bit >> 3]! ^= 1 << (bit & 7);
      expect(verify(secrets, right, changed, NOW_MS)).toBe(
        "no signature matches any of the secrets",
      );
    }
    expect(verify(secrets, right, body.slice(1), NOW_MS)).not.toBe("ok");
    expect(verify(secrets, right, bytes(`${BODY} `), NOW_MS)).not.toBe("ok");
  });

  test("verify refuses a message if a part of the id is moved to the timestamp or to the body", () => {
    const moved = { id: `${ID}.${TIMESTAMP}`, timestamp: "5", body: bytes("x") };
    const signature = sign(secrets, moved);
    expect(verify(secrets, { ...moved, signature }, moved.body, 5000)).toBe("ok");
    const elsewhere = { id: ID, timestamp: `${TIMESTAMP}.5`, signature };
    expect(verify(secrets, elsewhere, moved.body, NOW_MS)).not.toBe("ok");
    const inBody = {
      id: ID,
      timestamp: TIMESTAMP,
      signature: sign(secrets, { ...moved, id: "", timestamp: "" }),
    };
    expect(verify(secrets, inBody, moved.body, NOW_MS)).not.toBe("ok");
  });

  test.each([
    [-301, "webhook-timestamp is more than 5 minutes ahead"],
    [-300, "ok"],
    [0, "ok"],
    [300, "ok"],
    [301, "webhook-timestamp is more than 5 minutes ago"],
  ] as const)(
    "verify returns the expected result %d seconds after a message was sent",
    (seconds, result) => {
      expect(verify(secrets, right, bytes(BODY), NOW_MS + seconds * 1000)).toBe(result);
    },
  );

  test("the reference library has the same limits of time as verify", () => {
    for (const seconds of [-301, -300, 300, 301]) {
      setSystemTime(NOW_MS + seconds * 1000);
      const reference = (): unknown =>
        new Webhook(SECRET).verify(BODY, {
          "webhook-id": ID,
          "webhook-timestamp": TIMESTAMP,
          "webhook-signature": SIGNATURE,
        });
      if (Math.abs(seconds) > 300) expect(reference).toThrow();
      else expect(reference()).toEqual({ test: 2432232314 });
    }
  });

  test("a secret can be replaced, first at the sender or first at the receiver", () => {
    const [old, next] = [1, 2].map((n) => new SigningSecret(new Uint8Array(32).fill(n)));
    const body = bytes(BODY);
    const check = (sender: SigningSecret[], receiver: SigningSecret[]): string => {
      const signature = sign(sender, { id: ID, timestamp: TIMESTAMP, body });
      return verify(receiver, { id: ID, timestamp: TIMESTAMP, signature }, body, NOW_MS);
    };
    expect(check([old!, next!], [old!])).toBe("ok");
    expect(check([old!, next!], [next!])).toBe("ok");
    expect(check([old!], [next!, old!])).toBe("ok");
    expect(check([old!], [next!])).toBe("no signature matches any of the secrets");
    expect(check([old!], [])).toBe("no signature matches any of the secrets");
  });
});

describe("a file of secrets", () => {
  test.each([
    ["one", SECRET],
    ["with its prefix", `whsec_${SECRET}\n`],
    ["with lines around it", `\n# for the shop\n  \t\n  ${SECRET}  \n\n# the end`],
    ["from another system", `\ufeff${SECRET}\r\n`],
  ])("a secret is read from a file in this form: %s", (_name, text) => {
    const secrets = secretsOf(text);
    expect(sign(secrets, { id: ID, timestamp: TIMESTAMP, body: bytes(BODY) })).toBe(SIGNATURE);
  });

  test("several secrets are read from a file in their order", () => {
    const [first, second] = secretsOf(`whsec_${"A".repeat(32)}\n${SECRET}\n`);
    const signed = { id: ID, timestamp: TIMESTAMP, body: bytes(BODY) };
    expect(sign([first!, second!], signed)).toEndWith(` ${SIGNATURE}`);
  });

  test("a secret can have 24 to 64 bytes, with = at its end or without", () => {
    for (let length = 0; length <= 80; length++) {
      const text = new Uint8Array(length).fill(0xff).toBase64();
      const fits = length >= 24 && length <= 64;
      expect([length, problemOf(text) === "none"]).toEqual([length, fits]);
      expect([length, problemOf(text.replaceAll("=", "")) === "none"]).toEqual([length, fits]);
    }
  });

  test.each([
    ["nothing", "", `contains no secret; ${HOW}`],
    ["only comments", "# later\n\n", `contains no secret; ${HOW}`],
    [
      "only the prefix",
      "whsec_",
      `has a secret that is too short (less than 24 bytes) in line 1; ${HOW}`,
    ],
    ["a password", `# x\n\nhunter2hunter2!\n`, `has text that is not base64 in line 3; ${HOW}`],
    [
      "too short",
      `${SECRET}\nwhsec_c2hvcnQ=`,
      `has a secret that is too short (less than 24 bytes) in line 2; ${HOW}`,
    ],
    [
      "too long",
      "A".repeat(100),
      `has a secret that is too long (more than 64 bytes) in line 1; ${HOW}`,
    ],
    ["two on a line", `${SECRET} ${SECRET}`, `has text that is not base64 in line 1; ${HOW}`],
    ["the prefix twice", `whsec_whsec_${SECRET}`, `has text that is not base64 in line 1; ${HOW}`],
    [
      "a private key of the other scheme",
      `whsk_${SECRET}`,
      `has text that is not base64 in line 1; ${HOW}`,
    ],
    ["base64 for URLs", `-_${SECRET}`, `has text that is not base64 in line 1; ${HOW}`],
    ["a letter missing", `${SECRET}A`, `has text that is not base64 in line 1; ${HOW}`],
    ["bits after the end", `${SECRET}AB==`, `has text that is not base64 in line 1; ${HOW}`],
  ])("a file of secrets is refused in this case: %s", (_name, text, problem) => {
    expect(problemOf(text)).toBe(problem);
  });

  test("with any content of a file of secrets, no problem quotes it, and no secret is too short or too long", () => {
    const line = fc.oneof(fc.string({ unit: "binary" }), fc.base64String({ maxLength: 120 }));
    fc.assert(
      fc.property(
        fc.array(line).map((lines) => lines.join("\n")),
        (text) => {
          expect(problemOf(text).replace(/line \d+/, "line N")).toBeOneOf([
            "none",
            `contains no secret; ${HOW}`,
            `has text that is not base64 in line N; ${HOW}`,
            `has a secret that is too short (less than 24 bytes) in line N; ${HOW}`,
            `has a secret that is too long (more than 64 bytes) in line N; ${HOW}`,
          ]);
        },
      ),
    );
  });
});

describe("a secret that is printed", () => {
  const [secret] = secretsOf(SECRET);

  test.each([
    ["as text", String(secret)],
    ["added to a text", "" + (secret as unknown as string)],
    ["as JSON", JSON.stringify({ secret })],
    ["by Bun.inspect", Bun.inspect({ secrets: [secret] }, { depth: 10 })],
    ["by util.inspect", inspect({ secret }, { showHidden: true, depth: 10 })],
  ])("a secret is hidden if it is printed %s", (_name, text) => {
    expect(text).toContain("(hidden)");
    expectNothingOf(text);
  });

  test("a secret is hidden if it is printed by console.log", async () => {
    const code = `
      import { parseSecrets } from "${import.meta.dir}/../../src/channels/signature.ts";
      const { value } = parseSecrets("${SECRET}");
      console.log(value, value[0], { value });
      console.log("%o %j %s %O", value[0], value[0], value[0], value[0]);
    `;
    const child = Bun.spawn([process.execPath, "-e", code], { stdout: "pipe" });
    const text = await child.stdout.text();
    expect(text.split("(hidden)").length).toBeGreaterThanOrEqual(7);
    expectNothingOf(text);
  });

  test("the key of a secret is not a property, and later changes of the bytes do not change it", () => {
    expect(Reflect.ownKeys(secret!)).toEqual([]);
    const key = Uint8Array.fromBase64(SECRET);
    const copy = new SigningSecret(key);
    key.fill(0);
    expect(copy.sign({ id: ID, timestamp: TIMESTAMP, body: bytes(BODY) })).toBe(SIGNATURE);
  });
});

/** Neither the text of the secret nor its bytes, in any form in which they might be printed. */
function expectNothingOf(text: string): void {
  const key = Uint8Array.fromBase64(SECRET);
  for (const form of [SECRET.slice(0, 8), key.toHex().slice(0, 8), key.slice(0, 4).join(", ")]) {
    expect(text).not.toContain(form);
  }
}
