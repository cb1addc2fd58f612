/** The text of --licenses: the licence of wgmon, and the licences of its components. */

import licence from "../../LICENSE" with { type: "text" };
import notice from "../../NOTICE" with { type: "text" };

export function licensesText(): string {
  return `${licence}\n${notice}`;
}
