/**
 * Writes small MMDB files: the MaxMind DB File Format Specification 2.0, with records of 24 bits and IPv6 as the version
 * of the tree.
 */

export type Data = string | number | boolean | readonly Data[] | { readonly [key: string]: Data };

/** A node of the tree: what follows a 0 bit, and a 1 bit. */
interface Node {
  readonly children: [Node | Data | null, Node | Data | null];
}

const IPV4_ZEROS = 96;

/**
 * @param networks the data of each network. They must not overlap.
 * @param metadata replaces parts of the metadata.
 */
export function mmdb(
  networks: Readonly<Record<string, Data>>,
  metadata: Readonly<Record<string, Data>> = {},
): Buffer {
  const root = newNode();
  for (const [network, data] of Object.entries(networks)) {
    insert(root, bitsOf(network), data);
  }
  const nodes: Node[] = [];
  number(root, nodes);
  const index = new Map(nodes.map((node, at) => [node, at]));
  let section = Buffer.alloc(0);
  const records = nodes.flatMap(({ children }) =>
    children.map((child) => {
      if (child === null) return nodes.length;
      if (isNode(child)) return index.get(child)!;
      const at = section.length;
      section = Buffer.concat([section, encode(child)]);
      return nodes.length + 16 + at;
    }),
  );
  const tree = Buffer.alloc(records.length * 3);
  for (const [at, record] of records.entries()) tree.writeUIntBE(record, at * 3, 3);
  const facts = {
    node_count: nodes.length,
    record_size: 24,
    ip_version: 6,
    binary_format_major_version: 2,
    binary_format_minor_version: 0,
    build_epoch: 1_700_000_000,
    database_type: "Test",
    languages: ["en"],
    description: { en: "for tests" },
    ...metadata,
  };
  const marker = Buffer.from("\xab\xcd\xefMaxMind.com", "latin1");
  return Buffer.concat([tree, Buffer.alloc(16), section, marker, encode(facts)]);
}

function newNode(): Node {
  return { children: [null, null] };
}

function isNode(child: Node | Data): child is Node {
  return typeof child === "object" && "children" in child;
}

function insert(root: Node, bits: readonly (0 | 1)[], data: Data): void {
  let node = root;
  for (const [depth, bit] of bits.entries()) {
    if (depth === bits.length - 1) {
      node.children[bit] = data;
      return;
    }
    const child = node.children[bit];
    const next = child !== null && isNode(child) ? child : newNode();
    node.children[bit] = next;
    node = next;
  }
}

function number(node: Node, into: Node[]): void {
  into.push(node);
  for (const child of node.children) {
    if (child !== null && isNode(child)) number(child, into);
  }
}

/** `192.0.2.0/24` is ::192.0.2.0/120. */
function bitsOf(network: string): (0 | 1)[] {
  const [address, length] = network.split("/");
  const isIpv4 = !address!.includes(":");
  const bytes = isIpv4
    ? [...Array<number>(12).fill(0), ...address!.split(".").map(Number)]
    : ipv6(address!);
  const bits = bytes.flatMap((byte) =>
    [7, 6, 5, 4, 3, 2, 1, 0].map((shift) => ((byte >> shift) & 1) as 0 | 1),
  );
  return bits.slice(0, Number(length) + (isIpv4 ? IPV4_ZEROS : 0));
}

function ipv6(address: string): number[] {
  const [left, right] = address.split("::").map((half) => half.split(":").filter(Boolean));
  const zeros = Array<string>(8 - left!.length - (right?.length ?? 0)).fill("0");
  const groups = [...left!, ...zeros, ...(right ?? [])].map((group) => Number.parseInt(group, 16));
  return groups.flatMap((group) => [group >> 8, group & 0xff]);
}

/** Types of the data section: utf8_string 2, uint32 6, map 7, array 11, boolean 14. */
function encode(data: Data): Buffer {
  if (typeof data === "string") {
    const text = Buffer.from(data);
    return Buffer.concat([control(2, text.length), text]);
  }
  if (typeof data === "number") {
    const bytes = Buffer.alloc(4);
    bytes.writeUInt32BE(data);
    return Buffer.concat([control(6, 4), bytes]);
  }
  if (typeof data === "boolean") return control(14, data ? 1 : 0);
  if (Array.isArray(data)) {
    const items = data as readonly Data[];
    return Buffer.concat([control(11, items.length), ...items.map(encode)]);
  }
  const entries = Object.entries(data as Readonly<Record<string, Data>>);
  return Buffer.concat([
    control(7, entries.length),
    ...entries.flatMap(([key, value]) => [encode(key), encode(value)]),
  ]);
}

function control(type: number, size: number): Buffer {
  const length = size < 29 ? [size] : [29, size - 29];
  const first = (type > 7 ? 0 : type << 5) | length[0]!;
  return Buffer.from([first, ...(type > 7 ? [type - 7] : []), ...length.slice(1)]);
}
