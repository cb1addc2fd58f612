import { describe, expect, test } from "bun:test";

import { describeServers, type NatsAddress, parseNatsUrl } from "../../src/fleet/nats-url.ts";

function parsed(text: string): NatsAddress {
  const address = parseNatsUrl(text);
  if ("error" in address) throw new Error(address.error);
  return address;
}

describe("the address of NATS servers", () => {
  test("has a user, a password and one or several servers", () => {
    expect(parsed("nats://berlin:s3cret@nats.example.net")).toEqual({
      servers: ["nats.example.net:4222"],
      user: "berlin",
      password: "s3cret",
      isTls: true,
    });
    const several = parsed("nats://berlin:p%40ss@a.example.net:80,192.0.2.1,[2001:db8::1]:4223/");
    expect(several.servers).toEqual(["a.example.net:80", "192.0.2.1:4222", "[2001:db8::1]:4223"]);
    expect(several.password).toBe("p@ss");
    expect(parsed("tls://nats.example.net").user).toBeNull();
  });

  test("connections without TLS are possible to this machine only", () => {
    for (const local of ["localhost", "127.0.0.1:4222", "[::1]", "127.0.0.1,localhost:4223"]) {
      expect({ local, isTls: parsed(`nats://${local}`).isTls }).toEqual({ local, isTls: false });
    }
    for (const other of [
      "192.0.2.1",
      "127.example.net",
      "127.0.0.1,192.0.2.1",
      "localhost.example",
    ]) {
      expect({ other, isTls: parsed(`nats://${other}`).isTls }).toEqual({ other, isTls: true });
    }
    expect(parsed("tls://127.0.0.1").isTls).toBe(true);
  });

  test("the error for another text does not quote it", () => {
    for (const text of [
      "",
      "nats://",
      "http://berlin:s3cret@nats.example.net",
      "nats://berlin@nats.example.net",
      "nats://:s3cret@nats.example.net",
      "nats://berlin:s3%cret@nats.example.net",
      "nats://berlin:s3cret@a.example.net,,b.example.net",
      "nats://berlin:s3cret@nats.example.net:0",
      "nats://berlin:s3cret@nats.example.net:99999",
      "nats://berlin:s3cret@nats.example.net/path?query",
      "nats://berlin:s3cret@a b",
    ]) {
      const address = parseNatsUrl(text);
      expect({ text, isError: "error" in address }).toEqual({ text, isError: true });
      if ("error" in address) expect(address.error).not.toContain("s3cret");
    }
  });

  test("messages show the servers without user and password", () => {
    expect(describeServers(parsed("nats://berlin:s3cret@nats.example.net,b.example.net:80"))).toBe(
      "tls://nats.example.net:4222,b.example.net:80",
    );
    expect(describeServers(parsed("nats://berlin:s3cret@127.0.0.1"))).toBe("nats://127.0.0.1:4222");
  });
});
