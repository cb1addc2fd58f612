/** An interpreter of classic BPF with the kernel's semantics. */

/** struct bpf_insn: code u16, jt u8, jf u8, k u32; eight bytes each. */
export type Program = Uint8Array;

/** linux/filter.h: an extension that searches for the netlink attribute X, from offset A. */
const SKF_AD_NLATTR = 0xfffff000 + 12;
/** linux/filter.h: an extension that loads the packet type (linux/if_packet.h): received, outgoing, ... */
const SKF_AD_PKTTYPE = 0xfffff000 + 4;

/** The attribute's offset, 0 if not found. nla_find() of the kernel's lib/nlattr.c, on a little-endian machine. */
function findAttribute(message: Uint8Array, from: number, type: number): number {
  const view = new DataView(message.buffer, message.byteOffset, message.byteLength);
  for (let at = from; at + 4 <= message.length;) {
    const length = view.getUint16(at, true);
    if (length < 4 || at + length > message.length) return 0;
    if ((view.getUint16(at + 2, true) & 0x3fff) === type) return at;
    at += (length + 3) & ~3;
  }
  return 0;
}

/**
 * How many bytes of the packet the program accepts; 0 = it drops the packet. A load beyond the end
 * drops the packet, as in the kernel. linux/bpf_common.h; S. McCanne, V. Jacobson, The BSD Packet Filter.
 *
 * @param packetType PACKET_HOST, PACKET_OUTGOING, ...: linux/if_packet.h
 */
export function runProgram(program: Program, packet: Uint8Array, packetType = 0): number {
  const code = new DataView(program.buffer, program.byteOffset, program.byteLength);
  const view = new DataView(packet.buffer, packet.byteOffset, packet.byteLength);
  const memory = new Uint32Array(16);
  let a = 0;
  let x = 0;
  for (let at = 0; ; at += 8) {
    const operation = code.getUint16(at, true);
    const k = code.getUint32(at + 4, true);
    const load = (offset: number, bytes: number): number | null => {
      if (offset + bytes > packet.length) return null;
      if (bytes === 4) return view.getUint32(offset);
      return bytes === 2 ? view.getUint16(offset) : view.getUint8(offset);
    };
    const bytes = [4, 2, 1][(operation & 0x18) >> 3]!;
    switch (operation & 0x07) {
      case 0x00: {
        const mode = operation & 0xe0;
        let value: number | null;
        if (mode === 0x00) value = k;
        else if (mode === 0x20 && k === SKF_AD_NLATTR) value = findAttribute(packet, a, x);
        else if (mode === 0x20 && k === SKF_AD_PKTTYPE) value = packetType;
        else if (mode === 0x20) value = load(k, bytes);
        else if (mode === 0x40) value = load((x + k) >>> 0, bytes);
        else if (mode === 0x60) value = memory[k]!;
        else if (mode === 0x80) value = packet.length;
        else throw new Error(`BPF load 0x${operation.toString(16)}`);
        if (value === null) return 0;
        a = value;
        break;
      }
      case 0x01: {
        const mode = operation & 0xe0;
        if (mode === 0x00) x = k;
        else if (mode === 0x60) x = memory[k]!;
        else if (mode === 0x80) x = packet.length;
        else if (mode === 0xa0) {
          // The length of the IP header at k.
          const first = load(k, 1);
          if (first === null) return 0;
          x = (first & 0x0f) * 4;
        } else throw new Error(`BPF load 0x${operation.toString(16)}`);
        break;
      }
      case 0x02:
        memory[k] = a;
        break;
      case 0x03:
        memory[k] = x;
        break;
      case 0x04: {
        const value = (operation & 0x08) === 0 ? k : x;
        switch (operation & 0xf0) {
          case 0x00:
            a = (a + value) >>> 0;
            break;
          case 0x10:
            a = (a - value) >>> 0;
            break;
          case 0x20:
            a = Math.imul(a, value) >>> 0;
            break;
          case 0x40:
            a = (a | value) >>> 0;
            break;
          case 0x50:
            a = (a & value) >>> 0;
            break;
          case 0x60:
            a = (a << value) >>> 0;
            break;
          case 0x70:
            a >>>= value;
            break;
          default:
            throw new Error(`BPF arithmetic 0x${operation.toString(16)}`);
        }
        break;
      }
      case 0x05: {
        const value = (operation & 0x08) === 0 ? k : x;
        const kind = operation & 0xf0;
        if (kind === 0x00) {
          at += k * 8;
          break;
        }
        let holds: boolean;
        if (kind === 0x10) holds = a === value;
        else if (kind === 0x20) holds = a > value;
        else if (kind === 0x30) holds = a >= value;
        else if (kind === 0x40) holds = (a & value) !== 0;
        else throw new Error(`BPF jump 0x${operation.toString(16)}`);
        at += code.getUint8(at + (holds ? 2 : 3)) * 8;
        break;
      }
      case 0x06:
        return (operation & 0x18) === 0 ? k : a;
      case 0x07:
        if ((operation & 0xf8) === 0x00) x = a;
        else a = x;
        break;
    }
  }
}
