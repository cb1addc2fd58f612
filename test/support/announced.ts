/**
 * What is heard in a flood of what this machine itself sends: `unshare --net bun
 * test/support/announced.ts`, with lo up. Prints JSON. For test/e2e/rules.test.ts.
 */

import { Answers } from "../../src/capture/answers.ts";
import { parsePacket } from "../../src/capture/packet.ts";
import { systemClock } from "../../src/clock.ts";
import { data, initiation, response } from "./packets.ts";
import { REPORT_MS } from "./until.ts";

const PORT = 51820;
/** More than is read: of what a router passes on, some may look like an answer. */
const PORTION = 1000;

export interface Announced {
  /** The types of those messages that were heard. */
  readonly heard: readonly number[];
  /** Whether it said so when it had missed some, and that it was over. */
  readonly deaf: boolean;
  readonly recovered: boolean;
}

async function announced(): Promise<Announced> {
  const heard: number[] = [];
  let onHeard = () => {};
  const answers = new Answers(systemClock, (bytes) => {
    heard.push(parsePacket(bytes, "sent")!.type);
    onHeard();
  });
  const hostname = "127.0.0.1";
  const own = await Bun.udpSocket({ hostname, port: PORT });
  const other = await Bun.udpSocket({ hostname });
  const send = (message: Uint8Array) => own.send(message, other.port, hostname);
  /** Whether it can be relied on, asked as often as a flood is told of. */
  const until = async (isRelied: boolean, meanwhile = () => {}) => {
    const deadlineMs = performance.now() + REPORT_MS;
    while (answers.listen([PORT]) !== isRelied) {
      if (performance.now() > deadlineMs) return false;
      meanwhile();
      await Bun.sleep(10);
    }
    return true;
  };

  await until(true);
  other.send(data(0), PORT, hostname);
  for (const message of [initiation(), data(0), data(1), response()]) send(message);
  await new Promise<void>((resolve) => {
    onHeard = () => {
      if (heard.length === 2) resolve();
    };
  });
  const first = [...heard];
  const deaf = await until(false, () => {
    for (let n = 0; n < PORTION; n++) send(response());
  });
  const recovered = await until(true);
  own.close();
  other.close();
  answers.close();
  return { heard: first, deaf, recovered };
}

console.log(JSON.stringify(await announced()));
process.exit(0);
