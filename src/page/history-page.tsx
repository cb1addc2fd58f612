/** The page of a history: a heading, the downloads, the form of the filter, the list, and links to its other pages. */

import { addressWith, Downloads, FilterForm, type FilterFormProps } from "./history-filter.tsx";
import type { PageSnapshot } from "./page-diff.ts";

interface HistoryPageProps extends FilterFormProps {
  readonly title: string;
  readonly snapshot: PageSnapshot;
  /** Whether the list begins with the latest row. */
  readonly isLatest: boolean;
  /** The cursor of the rows that are older than those of the list; null: there are none. */
  readonly older: string | null;
  /** The list. */
  readonly children: unknown;
}

export function HistoryPage({ children, ...props }: HistoryPageProps) {
  const { title, source, filter, path, kinds, snapshot, isLatest, older } = props;
  const before = (cursor: string | null) =>
    addressWith(path, kinds.name, filter, { before: cursor });
  return (
    <>
      <div class="head">
        <h1>{title}</h1>
        <div class="right">
          <Downloads filter={filter} path={path} kinds={kinds} />
        </div>
      </div>
      {/* An update does not contain the form; rendering it would list the peers. */}
      {snapshot.nowMs === null ? null : (
        <FilterForm source={source} filter={filter} path={path} kinds={kinds} />
      )}
      <section class="card" aria-label={title}>
        {children as string}
        {snapshot.part(
          "more",
          <nav id="more" class="pages" aria-label={`Pages of ${title.toLowerCase()}`}>
            {isLatest ? null : <a href={before(null)}>Latest</a>}
            {older === null ? null : <a href={before(older)}>Older</a>}
          </nav>,
        )}
      </section>
    </>
  );
}
