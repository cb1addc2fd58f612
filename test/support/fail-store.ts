/** Makes the file of a store fail. */

import { Database } from "bun:sqlite";
import { join } from "node:path";

/**
 * Makes writes of events fail until the returned function is called; with `isRead`, the rows cannot be copied to memory
 * either.
 */
export function failStore(directory: string, isRead: boolean): () => void {
  using other = new Database(join(directory, "wgmon.db"));
  other.run(
    "CREATE TRIGGER full BEFORE INSERT ON events BEGIN SELECT raise(ABORT, 'disk is full'); END",
  );
  if (isRead) other.run("ALTER TABLE devices ADD COLUMN more TEXT");
  return () => {
    using again = new Database(join(directory, "wgmon.db"));
    again.run("DROP TRIGGER full");
    if (isRead) again.run("ALTER TABLE devices DROP COLUMN more");
  };
}
