/** The text of --licenses: wgmon's own licence, and those of what is built into it. */

import licence from "../../LICENSE" with { type: "text" };
import notice from "../../NOTICE" with { type: "text" };

export function licensesText(): string {
  return `${licence}\n${notice}`;
}
