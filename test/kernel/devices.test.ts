/** Scans of devices, with a fake kernel that replays recorded and generated answers. */

import { describe, expect, test } from "bun:test";

import { SystemError } from "../../src/base/errors.ts";
import { Devices } from "../../src/kernel/devices.ts";
import { NetlinkSocket, type Request } from "../../src/kernel/netlink-socket.ts";
import {
  EBUSY,
  ENODEV,
  ENOENT,
  EPERM,
  NETLINK_ROUTE,
  RTM_GETLINK,
  RTM_NEWLINK,
} from "../../src/platform/constants.ts";
import {
  type DeviceFields,
  deviceMessage,
  done,
  error,
  keyOf,
  linkMessage,
  type PeerFields,
} from "../support/answers.ts";
import { readGolden } from "../support/golden.ts";
import { type Answer, Replay } from "../support/replay.ts";

const family = readGolden("family.bin");
const WG0 = { name: "wg0", index: 7 };
const WG1 = { name: "wg1", index: 8 };

const links = (...each: readonly { name: string; index: number }[]): Answer => [
  ...each.map(linkMessage),
  done(),
];
const dump = (fields: DeviceFields = {}): Answer => [deviceMessage(fields), done()];

/** The two sockets of a fake kernel, and the Devices that scan it. */
function setup(only: readonly string[] = ["wg0", "wg1", "wg2"]) {
  const generic = new Replay();
  const route = new Replay();
  const devices = new Devices(only, generic, route);
  return { generic, route, devices };
}

/** The same after a first scan, which found wg0 with these peers. */
async function setupWithWg0(...peers: readonly PeerFields[]) {
  const kernel = setup();
  kernel.generic.add(family, dump({ peers }));
  kernel.route.add(links(WG0));
  await kernel.devices.scan("list");
  kernel.generic.sent.length = 0;
  return kernel;
}

type Result = Awaited<ReturnType<Devices["scan"]>>;

/** A summary of a scan. */
function summary({ devices, removed, problems }: Result) {
  return {
    devices: devices.map(({ device, changed, removed: gone }) =>
      [
        device.name,
        ...changed.map(({ peer }) => `~${peer.publicKey.slice(0, 4)}`),
        ...gone.map((key) => `-${key.slice(0, 4)}`),
      ].join(" "),
    ),
    removed: removed.map(({ name }) => name),
    problems: problems.map(({ message }) => message),
  };
}

const short = (key: number) => keyOf(key).slice(0, 4);

test("recorded devices are listed and scanned", async () => {
  const { generic, route, devices } = setup();
  route.add(readGolden("links.bin"));
  generic.add(family, ...["wg0", "wg1", "wg2"].map((name) => readGolden(`device-${name}.bin`)));
  const scan = await devices.scan("list");
  const found = scan.devices.map(
    ({ device, changed }) => `${device.name}: ${changed.length} peers`,
  );
  // The six peers of wg1 have never connected.
  expect(found).toEqual(["wg0: 4 peers", "wg1: 0 peers", "wg2: 0 peers"]);
  expect(scan).toMatchObject({ removed: [], problems: [] });
  expect(devices.lastScanned.map(({ listenPort }) => listenPort)).toEqual([51_820, 51_821, 0]);
  expect(["wg0", "wg1", "wg2", "gone"].map((name) => devices.count(name))).toEqual([4, 6, 0, 0]);
  expect([generic.left, route.left]).toEqual([0, 0]);
});

test("a scan requests the family, the links and each device by its index", async () => {
  const { generic, route, devices } = setup();
  generic.add(family, dump(WG0), dump(WG1));
  route.add(links(WG0, WG1));
  await devices.scan("list");
  expect({ generic: generic.sent, route: route.sent }).toMatchInlineSnapshot(`
    {
      "generic": [
        "24000000 10000500 01000000 00000000 03010000 0e000200 77697265 67756172 64000000",
        "1c000000 20000103 02000000 00000000 00010000 08000100 07000000",
        "1c000000 20000103 03000000 00000000 00010000 08000100 08000000",
      ],
      "route": [
        "3c000000 12000103 01000000 00000000 00000000 00000000 00000000 00000000 14001200 0e000100 77697265 67756172 64000000 08001d00 08000000",
      ],
    }
  `);
});

test("the request for a device is built once and reused", async () => {
  const requests: Request[] = [];
  class Recording extends Replay {
    override request(...asked: Parameters<Replay["request"]>) {
      requests.push(asked[1]);
      return super.request(...asked);
    }
  }
  const generic = new Recording();
  const route = new Replay();
  const devices = new Devices(["wg0", "wg1"], generic, route);
  generic.add(family, dump(WG0), dump(WG1), dump(WG0), dump(WG1));
  route.add(links(WG0, WG1));
  await devices.scan("list");
  await devices.scan(new Set(["wg0", "wg1"]));
  const [, wg0, wg1, ...again] = requests;
  expect(again).toHaveLength(2);
  expect(again[0]).toBe(wg0!);
  expect(again[1]).toBe(wg1!);
});

test("the event loop runs between the scans of two devices", async () => {
  const order: string[] = [];
  class Recording extends Replay {
    override request(...asked: Parameters<Replay["request"]>) {
      order.push(asked[0]);
      setImmediate(() => order.push("something else"));
      return super.request(...asked);
    }
  }
  const generic = new Recording();
  const route = new Replay();
  generic.add(family, dump(WG0), dump(WG1));
  route.add(links(WG0, WG1));
  const { devices } = await new Devices(["wg0", "wg1"], generic, route).scan("list");
  expect(devices).toHaveLength(2);
  const turn = "something else";
  expect(order.slice(1)).toEqual(["scan wg0", turn, turn, "scan wg1"]);
});

test("the kernel answers a reused request each time", () => {
  using socket = new NetlinkSocket(NETLINK_ROUTE);
  const request = { type: RTM_GETLINK, dump: true, header: new Uint8Array(16), attributes: [] };
  for (let time = 0; time < 3; time++) {
    let links = 0;
    socket.request("list links", request, (_answer, _start, _end, type) => {
      if (type === RTM_NEWLINK) links++;
    });
    expect(links).toBeGreaterThan(0);
  }
});

test("peers that never connected are reported when their counters change or they connect", async () => {
  const { generic, devices } = await setupWithWg0({ key: 1 }, { key: 2 });
  const moved = [{ key: 1, rxBytes: 148 }, { key: 2 }, { key: 3 }];
  generic.add(dump({ peers: moved }), dump({ peers: [...moved, { key: 4, handshake: [5, 0] }] }));
  const { devices: scans } = await devices.scan(new Set(["wg0"]));
  expect(scans[0]?.changed).toMatchObject([
    { before: { lastHandshakeMs: null, rxBytes: 0 }, peer: { publicKey: keyOf(1) } },
  ]);
  expect(summary(await devices.scan(new Set(["wg0"]))).devices).toEqual([`wg0 ~${short(4)}`]);
});

test("only the named devices are scanned, without a new list", async () => {
  const { generic, route, devices } = setup();
  generic.add(family, dump(WG0), dump(WG1), dump(WG1));
  route.add(links(WG0, WG1));
  await devices.scan("list");
  expect(summary(await devices.scan(new Set(["wg1"]))).devices).toEqual(["wg1"]);
  expect(route.sent).toHaveLength(1);
});

test("--device limits what is scanned", async () => {
  const { generic, route, devices } = setup(["wg1"]);
  generic.add(family, dump(WG1));
  route.add(links(WG0, WG1));
  expect(summary(await devices.scan("list"))).toEqual({
    devices: ["wg1"],
    removed: [],
    problems: [],
  });
  expect(devices.lastScanned.map(({ name }) => name)).toEqual(["wg1"]);
});

test("without --device every device is scanned", async () => {
  const { generic, route, devices } = setup([]);
  generic.add(family, dump(WG0), dump({ name: "other", index: 9 }));
  route.add(links(WG0, { name: "other", index: 9 }));
  const scan = await devices.scan("list");
  expect(summary(scan).devices).toEqual(expect.arrayContaining(["wg0", "other"]));
});

test("present contains all devices, also those that cannot be scanned", async () => {
  const { generic, route, devices } = setup();
  generic.add(family, dump(WG0), [error(EPERM)]);
  route.add(links(WG0, WG1), [done({ interrupted: true })]);
  const scan = await devices.scan("list");
  expect(summary(scan).problems).toHaveLength(1);
  expect(scan.present).toEqual(new Set(["wg0", "wg1"]));

  generic.add(dump(WG0), dump(WG1), dump(WG0));
  expect((await devices.scan("list")).present).toBeNull();
  expect((await devices.scan(new Set(["wg0"]))).present).toBeNull();
});

test("without a device the scan is empty, and the family is not requested", async () => {
  const { generic, route, devices } = setup();
  route.add(links(), links());
  expect(summary(await devices.scan("list"))).toEqual({ devices: [], removed: [], problems: [] });
  expect(summary(await devices.scan("list"))).toEqual({ devices: [], removed: [], problems: [] });
  expect(generic.sent).toHaveLength(0);
});

describe("a device that was removed", () => {
  test("a device that was removed between two scans is reported as removed", async () => {
    const { route, devices } = await setupWithWg0();
    route.add(links());
    expect(summary(await devices.scan("list"))).toEqual({
      devices: [],
      removed: ["wg0"],
      problems: [],
    });
    expect(devices.lastScanned).toEqual([]);
  });

  test("a device that was removed between the list and its dump is reported as removed (ENODEV)", async () => {
    const { generic, route, devices } = await setupWithWg0();
    route.add(links(WG0));
    generic.add([error(ENODEV)]);
    expect(summary(await devices.scan("list"))).toEqual({
      devices: [],
      removed: ["wg0"],
      problems: [],
    });
  });

  test("a device that was removed before its first scan is not reported", async () => {
    const { generic, route, devices } = setup();
    generic.add(family, [error(ENODEV)]);
    route.add(links(WG0));
    expect(summary(await devices.scan("list"))).toEqual({ devices: [], removed: [], problems: [] });
  });

  test("a device that was removed with the module is reported as removed, with all others (ENOENT)", async () => {
    const { generic, route, devices } = setup();
    generic.add(family, dump(WG0), dump(WG1));
    route.add(links(WG0, WG1));
    await devices.scan("list");
    generic.add([error(ENOENT)], readGolden("family-missing.bin"));
    expect(summary(await devices.scan(new Set(["wg0", "wg1"])))).toEqual({
      devices: [],
      removed: ["wg0", "wg1"],
      problems: [],
    });
  });

  test("a device that was removed and added again with the same name is a new device with new peers", async () => {
    const { generic, route, devices } = await setupWithWg0({ key: 1 });
    route.add(links({ name: "wg0", index: 9 }));
    generic.add(dump({ name: "wg0", index: 9, peers: [{ key: 1 }] }));
    const scan = await devices.scan("list");
    expect(summary(scan)).toMatchObject({ devices: [`wg0 ~${short(1)}`], removed: ["wg0"] });
    expect(scan.devices[0]?.changed[0]?.before).toBeNull();
  });

  test("a removed device is reported not because of an interrupted list, but because of its dump", async () => {
    const { generic, route, devices } = await setupWithWg0({ key: 1 });
    route.add([done({ interrupted: true })], [done({ interrupted: true })]);
    generic.add(dump({ peers: [{ key: 1 }] }), [error(ENODEV)]);
    expect(summary(await devices.scan("list"))).toEqual({
      devices: ["wg0"],
      removed: [],
      problems: [],
    });
    expect(summary(await devices.scan("list")).removed).toEqual(["wg0"]);
  });

  test("a device that was removed or renamed is noticed in its dump if the change interrupted the list", async () => {
    const { generic, route, devices } = await setupWithWg0({ key: 1 });
    route.add([done({ interrupted: true })]);
    generic.add(dump({ name: "wg1", peers: [{ key: 1 }] }));
    expect(summary(await devices.scan("list"))).toEqual({
      devices: [],
      removed: ["wg0"],
      problems: [],
    });
  });

  test("a renamed device is reported as removed, and under its new name as a new device", async () => {
    const { generic, route, devices } = await setupWithWg0();
    route.add(links({ name: "wg1", index: 7 }));
    generic.add(dump({ name: "wg1", index: 7 }));
    expect(summary(await devices.scan("list"))).toMatchObject({
      devices: ["wg1"],
      removed: ["wg0"],
    });
  });
});

test("if the module is loaded again with another family number, its devices are found at once", async () => {
  const { generic, route, devices } = await setupWithWg0();
  route.add(links(), links({ name: "wg1", index: 12 }));
  await devices.scan("list");
  const reloaded = family.map((datagram) => datagram.slice());
  // CTRL_ATTR_FAMILY_ID is the second attribute, after the name.
  new DataView(reloaded[0]!.buffer).setUint16(16 + 4 + 16 + 4, 33, true);
  generic.add([error(ENOENT)], reloaded, dump({ name: "wg1", index: 12 }));
  expect(summary(await devices.scan("list"))).toEqual({
    devices: ["wg1"],
    removed: [],
    problems: [],
  });
  expect(generic.sent.at(-1)).toContain("21000103");
});

describe("an interrupted dump", () => {
  const interrupted = (peers: readonly PeerFields[]) => dump({ peers, interrupted: true });

  test("an interrupted dump is requested again until it is complete", async () => {
    const { generic, devices } = await setupWithWg0({ key: 1 }, { key: 2 });
    generic.add(
      interrupted([{ key: 1 }]),
      interrupted([]),
      dump({ peers: [{ key: 1 }, { key: 2 }] }),
    );
    expect(summary(await devices.scan(new Set(["wg0"])))).toEqual({
      devices: ["wg0"],
      removed: [],
      problems: [],
    });
    expect(generic.sent).toHaveLength(3);
  });

  test("an interrupted dump is accepted after five attempts: changes are reported, but no removals", async () => {
    const { generic, devices } = await setupWithWg0({ key: 1 }, { key: 2 });
    generic.add(...Array.from({ length: 5 }, () => interrupted([{ key: 1, rxBytes: 1 }])));
    expect(summary(await devices.scan(new Set(["wg0"]))).devices).toEqual([`wg0 ~${short(1)}`]);
    expect(generic.left).toBe(0);
    generic.add(dump({ peers: [{ key: 1, rxBytes: 1 }] }));
    expect(summary(await devices.scan(new Set(["wg0"]))).devices).toEqual([`wg0 -${short(2)}`]);
  });

  test("an interrupted dump reports each peer once, even if it was read several times", async () => {
    const { generic, devices } = await setupWithWg0({ key: 1 });
    generic.add(interrupted([{ key: 1, rxBytes: 1 }]), dump({ peers: [{ key: 1, rxBytes: 2 }] }));
    const { devices: scans } = await devices.scan(new Set(["wg0"]));
    expect(scans[0]?.changed).toMatchObject([{ before: { rxBytes: 0 }, peer: { rxBytes: 2 } }]);
  });

  test("an interrupted dump is an error for a list of all peers, because peers may be missing from it", async () => {
    const { generic, devices } = await setupWithWg0({ key: 1 }, { key: 2 });
    generic.add(interrupted([{ key: 1 }]), dump({ peers: [{ key: 1 }, { key: 2 }] }));
    expect(devices.peers("wg0")).toHaveLength(2);
    generic.add(...Array.from({ length: 5 }, () => interrupted([{ key: 1 }])));
    expect(() => devices.peers("wg0")).toThrow(
      new SystemError(
        "scan wg0",
        "EINTR",
        "its peers changed during each of 5 attempts; try again",
      ),
    );
    expect(generic.left).toBe(0);
  });

  test("an interrupted dump is also recognised if only NLMSG_DONE has the flag", async () => {
    const { generic, devices } = await setupWithWg0({ key: 1 });
    generic.add([deviceMessage(), done({ interrupted: true })], dump({ peers: [{ key: 1 }] }));
    expect(summary(await devices.scan(new Set(["wg0"]))).devices).toEqual(["wg0"]);
  });
});

describe("an error of a scan", () => {
  test("an error with one device is reported, and the others are scanned", async () => {
    const { generic, route, devices } = setup();
    generic.add(family, [error(EBUSY)], dump(WG1));
    route.add(links(WG0, WG1));
    expect(summary(await devices.scan("list"))).toEqual({
      devices: ["wg1"],
      removed: [],
      problems: ["scan wg0: EBUSY"],
    });
  });

  test("an error with the list keeps the known devices", async () => {
    const { generic, route, devices } = await setupWithWg0();
    route.add([error(EPERM)]);
    generic.add(dump());
    expect(summary(await devices.scan("list"))).toMatchObject({
      devices: ["wg0"],
      removed: [],
      problems: [expect.stringContaining("list network links: EPERM")],
    });
  });

  test("an error in the parsing of an answer is reported without its bytes", async () => {
    const { generic, devices } = await setupWithWg0();
    generic.add([deviceMessage({ peers: [{ key: 1, attributes: [] }] }), done()]);
    expect(summary(await devices.scan(new Set(["wg0"]))).problems).toEqual([
      "WGDEVICE_A_PEERS: peer without WGPEER_A_PUBLIC_KEY",
    ]);
  });

  test("an error in NLMSG_DONE of a dump is reported", async () => {
    const { generic, devices } = await setupWithWg0();
    generic.add([deviceMessage(), done({ errno: EPERM })]);
    expect(summary(await devices.scan(new Set(["wg0"]))).problems).toHaveLength(1);
  });

  test("an error in the middle of a dump loses no change, because the next dump reports it", async () => {
    const { generic, devices } = await setupWithWg0({ key: 1 }, { key: 2 });
    const first = deviceMessage({ peers: [{ key: 1, rxBytes: 148 }] });
    generic.add([first, error(EBUSY)]);
    expect(summary(await devices.scan(new Set(["wg0"])))).toMatchObject({ devices: [] });
    generic.add(dump({ peers: [{ key: 1, rxBytes: 148 }, { key: 2 }] }));
    const { devices: scans } = await devices.scan(new Set(["wg0"]));
    expect(scans[0]?.changed).toMatchObject([
      { before: { rxBytes: 0 }, peer: { publicKey: keyOf(1), rxBytes: 148 } },
    ]);
  });
});

test("a link that is not a WireGuard device is not scanned", async () => {
  const { generic, route, devices } = setup();
  generic.add(family);
  route.add([linkMessage({ name: "wg0", index: 7, kind: "veth", type: RTM_NEWLINK }), done()]);
  expect(summary(await devices.scan("list")).devices).toEqual([]);
});

test("disposing of Devices closes both sockets", () => {
  const { generic, route, devices } = setup();
  devices[Symbol.dispose]();
  expect([generic.disposed, route.disposed]).toEqual([true, true]);
});
