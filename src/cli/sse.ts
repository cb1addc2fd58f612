/** Parses server-sent events: https://html.spec.whatwg.org/multipage/server-sent-events.html. Pure. */

/** A message of the stream. Comments are not messages. */
export interface Message {
  /** `message` if the stream names no type. */
  readonly type: string;
  /** The last id in the stream; null: no id yet. */
  readonly id: string | null;
  readonly data: string;
}

/** Parses a stream in chunks, which may end at any byte. Lines must end with \n, as those of wgmon do. */
export class MessageReader {
  #rest = "";
  #id: string | null = null;

  read(chunk: string): Message[] {
    const blocks = (this.#rest + chunk).split("\n\n");
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
