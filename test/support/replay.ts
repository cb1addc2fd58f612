/** A fake netlink socket that replays recorded answers and records the requests. */

import type { MessageVisitor, Request, Requester } from "../../src/kernel/netlink-socket.ts";
import { align, bytesOf, encodeMessage } from "../../src/kernel/netlink.ts";
import {
  NLM_F_ACK,
  NLM_F_DUMP,
  NLM_F_DUMP_INTR,
  NLM_F_REQUEST,
  NLMSG_DONE,
  NLMSG_ERROR,
} from "../../src/platform/constants.ts";
import { systemError } from "../../src/platform/errno.ts";

/** The datagrams that answer one request. */
export type Answer = readonly Uint8Array[];

export class Replay implements Requester, Disposable {
  readonly #answers: Answer[];
  #sequence = 0;
  /** The requests in hex, in groups of four bytes. */
  readonly sent: string[] = [];
  disposed = false;

  constructor(answers: readonly Answer[] = []) {
    this.#answers = [...answers];
  }

  /** Adds answers for the next requests. */
  add(...answers: readonly Answer[]): void {
    this.#answers.push(...answers);
  }

  /** Number of answers that no request has used yet. */
  get left(): number {
    return this.#answers.length;
  }

  request(operation: string, request: Request, visit: MessageVisitor): { interrupted: boolean } {
    const { type, dump, header, attributes } = request;
    const flags = NLM_F_REQUEST | (dump ? NLM_F_DUMP : NLM_F_ACK);
    const sequence = ++this.#sequence;
    this.sent.push(inWords(encodeMessage({ type, flags, sequence, header, attributes })));
    const answer = this.#answers.shift();
    if (answer === undefined) throw new Error(`${operation}: no recorded answer left`);
    let interrupted = false;
    for (const datagram of answer) {
      // A copy that is cleared afterwards, like the socket's receive buffer: a parser must not keep references to it.
      const buffer = bytesOf(datagram.slice());
      for (let offset = 0; offset < datagram.length;) {
        const end = offset + buffer.view.getUint32(offset, true);
        const messageType = buffer.view.getUint16(offset + 4, true);
        if ((buffer.view.getUint16(offset + 6, true) & NLM_F_DUMP_INTR) !== 0) interrupted = true;
        if (messageType === NLMSG_DONE || messageType === NLMSG_ERROR) {
          const code = -buffer.view.getInt32(offset + 16, true);
          if (code !== 0) throw systemError(operation, code);
        } else {
          visit(buffer, offset, end, messageType);
        }
        offset = align(end);
      }
      buffer.bytes.fill(0);
    }
    return { interrupted };
  }

  [Symbol.dispose](): void {
    this.disposed = true;
  }
}

function inWords(bytes: Uint8Array): string {
  return bytes.toHex().replace(/.{8}(?=.)/g, "$& ");
}
