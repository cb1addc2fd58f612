/** The stream of events, read: https://html.spec.whatwg.org/multipage/server-sent-events.html. Pure. */

/** A message of the stream; a comment is none. */
export interface Message {
  /** `message` where it does not say. */
  readonly type: string;
  /** The last one that was said; null: none yet. */
  readonly id: string | null;
  readonly data: string;
}

/** Takes a stream in pieces, wherever it is cut. Lines end as our server ends them, with a newline. */
export class MessageReader {
  #rest = "";
  #id: string | null = null;

  read(piece: string): Message[] {
    const blocks = (this.#rest + piece).split("\n\n");
    this.#rest = blocks.pop()!;
    return blocks.flatMap((block) => this.#message(block) ?? []);
  }

  #message(block: string): Message | null {
    let type = "message";
    const data: string[] = [];
    for (const line of block.split("\n")) {
      const [, field, value] = /^(\w+)(?:: ?(.*))?$/s.exec(line) ?? [];
      if (field === "id") this.#id = value ?? "";
      else if (field === "event") type = value ?? "";
      else if (field === "data") data.push(value ?? "");
    }
    return data.length === 0 ? null : { type, id: this.#id, data: data.join("\n") };
  }
}
