/** The filters of the pages of sessions, events and alerts: parsed from the address, shown as a form, kept in addresses. */

import { shortName } from "../base/text.ts";
import { withoutHostPrefix } from "../base/tunnel-address.ts";
import { keyFromUrl, shortKey, urlKey } from "../base/wireguard.ts";
import { splitDevice } from "../fleet/gateway-name.ts";
import { type Place, placeOf } from "../http/fleet-model.ts";
import { findPeers } from "../http/peer-query.ts";
import type { ReadModel } from "../http/read-model.ts";
import { readablePeers } from "../http/view.ts";
import { DAY_MS, rangeNames, ranges } from "../store/ranges.ts";
import { address } from "./format.ts";
import { oneOf } from "./list.ts";

/** Most peers that the form suggests while a name is typed. */
const SUGGESTED_MAX = 500;
/** Most peers that are listed if the text fits several. */
const CHOICES_MAX = 10;
const PEER_TEXT_MAX = 128;
const MINUTE_MS = 60_000;

interface PeerChoice {
  readonly publicKey: string;
  readonly label: string;
}

export interface HistoryFilter {
  /** Parameters of the address that are not null; `peer` is a key if the text names one peer. */
  readonly parameters: Readonly<
    Record<"peer" | "host" | "device" | "kind" | "range" | "from" | "until" | "tz", string | null>
  >;
  /** On a hub: the gateway. And the device. */
  readonly place: Place;
  readonly publicKey: string | null;
  /** The peers that the text fits if it does not name exactly one; null: it names one, or there is no text. */
  readonly candidates: readonly PeerChoice[] | null;
  readonly sinceMs: number | null;
  readonly untilMs: number | null;
  readonly isActive: boolean;
}

/** Parses the parameters. Ignores invalid values, which the page reports, because the address may be an old bookmark. */
export function readFilter(
  source: ReadModel,
  given: URLSearchParams,
  kinds: { readonly name: string; readonly choices: readonly string[] },
): HistoryFilter {
  const text = (given.get("peer") ?? "").trim().slice(0, PEER_TEXT_MAX);
  const shownKey = keyFromUrl(given.get("key") ?? "");
  const isUnchanged = shownKey !== null && text === labelOrKey(source, shownKey);
  const found = text === "" ? [] : peersOf(source, isUnchanged ? shownKey : text);
  const publicKey = found.length === 1 ? found[0]!.publicKey : null;
  const range = oneOf(rangeNames, given.get("range"));
  const zone = zoneOf(given.get("tz"));
  const fromMs = dateOf(given.get("from"), zone.fromMs);
  const toMs = dateOf(given.get("until"), zone.untilMs);
  const hasDates = fromMs !== null || toMs !== null;
  const parameters = {
    peer: publicKey === null ? text || null : urlKey(publicKey),
    host: source.fleet === null ? null : given.get("host") || null,
    device: given.get("device") || null,
    kind: oneOf(kinds.choices, given.get(kinds.name)),
    range: hasDates ? null : range,
    from: fromMs === null ? null : given.get("from"),
    until: toMs === null ? null : given.get("until"),
    tz: hasDates && (zone.fromMs !== 0 || zone.untilMs !== 0) ? given.get("tz") : null,
  };
  // Rounded to a minute, so that StoredEvents can reuse the sequence number it found for this time.
  const nowMs = Math.floor(source.clock.now().wallMs / MINUTE_MS) * MINUTE_MS;
  const { host, device } = parameters;
  return {
    parameters,
    place:
      host === null
        ? { gateway: null, device }
        : placeOf(source, { host, device: device ?? undefined }),
    publicKey,
    candidates: text === "" || publicKey !== null ? null : found,
    sinceMs: hasDates ? fromMs : range === null ? null : nowMs - ranges[range].spanMs,
    untilMs: toMs === null ? null : toMs + DAY_MS,
    isActive: Object.values(parameters).some((value) => value !== null),
  };
}

/** The peers that the text names: by key, by name or address, or else by a part of these. */
function peersOf(source: ReadModel, text: string): PeerChoice[] {
  const key = keyFromUrl(text);
  if (key !== null) return [{ publicKey: key, label: labelOf(source, key, null) }];
  const query = {
    device: null,
    state: null,
    search: text,
    sort: "name",
    isDescending: false,
  } as const;
  const found = findPeers(source, query, (device) => readablePeers(source, device));
  const wanted = text.toLowerCase();
  const exact = found.filter(
    ({ name, peer }) =>
      shortName(name ?? "").toLowerCase() === wanted ||
      peer.allowedIps.some((each) => withoutHostPrefix(each).toLowerCase() === wanted),
  );
  const chosen = exact.length > 0 ? exact : found;
  // A key may be a peer of several devices.
  const unique = new Map(chosen.map(({ peer, name }) => [peer.publicKey, name]));
  return [...unique].map(([publicKey, name]) => ({
    publicKey,
    label: labelOf(source, publicKey, name),
  }));
}

function labelOf(source: ReadModel, publicKey: string, name: string | null): string {
  return shortName(name ?? nameIn(source, publicKey) ?? "") || shortKey(publicKey);
}

/** The peer's name on the first device on which it has one; null: it has none. */
export function nameIn(source: ReadModel, publicKey: string): string | null {
  for (const { name } of source.devices()) {
    const found = source.nameOf(publicKey as Parameters<ReadModel["nameOf"]>[0], name);
    if (found !== null) return found;
  }
  return null;
}

/**
 * How far the browser's time zone is behind UTC at the start and at the end of the dates: `-120`, or `-120_-60` if the
 * clocks change in between. The script adds it to the form.
 */
function zoneOf(text: string | null): { readonly fromMs: number; readonly untilMs: number } {
  const [, from = "0", until = from] = /^(-?\d{1,3})(?:_(-?\d{1,3}))?$/.exec(text ?? "") ?? [];
  return { fromMs: Number(from) * MINUTE_MS, untilMs: Number(until) * MINUTE_MS };
}

export function isDate(text: string): boolean {
  return dateOf(text, 0) !== null;
}

/** The beginning of a day; null if the text is not a date. */
function dateOf(text: string | null, zoneMs: number): number | null {
  if (text === null || !/^\d{4}-\d\d-\d\d$/.test(text)) return null;
  const ms = Date.parse(`${text}T00:00:00Z`);
  return Number.isNaN(ms) ? null : ms + zoneMs;
}

export interface FilterFormProps {
  readonly source: ReadModel;
  readonly filter: HistoryFilter;
  /** Path of the list; /v1 before it is the API's. */
  readonly path: "/events" | "/sessions" | "/alerts";
  readonly kinds: {
    readonly name: "type" | "state";
    readonly label: string;
    readonly choices: readonly string[];
  };
}

interface FilterExtras {
  /** Parameters of the address besides those of the filter. */
  readonly more?: Readonly<Record<string, string | null>>;
  /** The place in the page to show: `#past`. */
  readonly fragment?: string;
  /** Their fields. */
  readonly children?: unknown;
}

/** The form, and links to the same rows as CSV and JSON. Works without JavaScript. */
export function FilterForm({
  source,
  filter,
  path,
  kinds,
  more = {},
  fragment = "",
  children = null,
}: FilterFormProps & FilterExtras) {
  const { parameters, publicKey, candidates } = filter;
  const { host, device, kind, range } = parameters;
  const { gateway } = filter.place;
  const gateways = source.fleet?.gateways().map(({ name }) => name) ?? [];
  // Those of all gateways would be too many to choose from.
  const devices = source
    .devices()
    .map(({ name }) => name)
    .filter((each) => source.fleet === null || splitDevice(each).gateway === gateway);
  const shownPeer = publicKey === null ? (parameters.peer ?? "") : labelOrKey(source, publicKey);
  return (
    <>
      <form class="search" action={path + fragment} data-zone>
        <label class="half">
          <span>Peer</span>
          <input
            type="search"
            name="peer"
            value={shownPeer}
            list="peer-names"
            maxlength={PEER_TEXT_MAX}
            placeholder="name, address or key"
            autocomplete="off"
          />
        </label>
        {/* The name may not be unique, or the peer may be removed: the key is used if the name is unchanged. */}
        {publicKey === null ? null : <input type="hidden" name="key" value={urlKey(publicKey)} />}
        <datalist id="peer-names">
          {suggestions(source).map((each) => (
            <option value={each}></option>
          ))}
        </datalist>
        {gateways.length === 0 && host === null ? null : (
          <Select
            label="Gateway"
            name="host"
            any="all"
            choices={[...new Set([...gateways, ...(host === null ? [] : [host])])]}
            chosen={host}
          />
        )}
        {devices.length < 2 && device === null ? null : (
          <Select
            label="Device"
            name="device"
            any="all"
            choices={[...new Set([...devices, ...(device === null ? [] : [device])])]}
            chosen={device}
          />
        )}
        {children as string}
        <Select
          label={kinds.label}
          name={kinds.name}
          any="all"
          choices={kinds.choices}
          chosen={kind}
        />
        <Select
          label="Time"
          name="range"
          any="all"
          choices={rangeNames}
          chosen={range}
          prefix="last "
        />
        <label class="half">
          <span>From</span>
          <input type="date" name="from" value={parameters.from ?? ""} />
        </label>
        <label class="half">
          <span>Until</span>
          <input type="date" name="until" value={parameters.until ?? ""} />
        </label>
        <button>Show</button>
        {filter.isActive || Object.values(more).some((value) => value !== null) ? (
          <a href={path + fragment}>Show all</a>
        ) : null}
      </form>
      {candidates === null ? null : (
        <p class="hint" id="candidates">
          {candidates.length === 0
            ? "No peer has this name, address or key. A peer that was removed is found by its key."
            : "Several peers match: "}
          {candidates.slice(0, CHOICES_MAX).map((each, index) => (
            <>
              {index === 0 ? "" : ", "}
              <a
                href={
                  addressWith(path, kinds.name, filter, {
                    ...more,
                    peer: urlKey(each.publicKey),
                  }) + fragment
                }
              >
                <bdi>{each.label}</bdi>
              </a>
            </>
          ))}
          {candidates.length > CHOICES_MAX ? ` and ${candidates.length - CHOICES_MAX} more` : ""}
        </p>
      )}
    </>
  );
}

/** Links to the rows of the filter in other formats. */
export function Downloads({ filter, path, kinds }: Omit<FilterFormProps, "source">) {
  const { parameters, publicKey, sinceMs, untilMs, candidates } = filter;
  if (candidates !== null) return null;
  const to = (format: string) =>
    address(`/v1${path}/download`, {
      format,
      host: parameters.host,
      device: parameters.device,
      peer: publicKey === null ? null : urlKey(publicKey),
      [kinds.name]: parameters.kind,
      since: sinceMs === null ? null : new Date(sinceMs).toISOString(),
      until: untilMs === null ? null : new Date(untilMs).toISOString(),
    });
  const name = path.slice(1);
  return (
    <span class="downloads">
      Download{" "}
      <a href={to("csv")} download={`${name}.csv`} aria-label={`Download these ${name} as CSV`}>
        CSV
      </a>{" "}
      <a href={to("json")} download={`${name}.json`} aria-label={`Download these ${name} as JSON`}>
        JSON
      </a>
    </span>
  );
}

/** The address of the list with the filter, and with these parameters. */
export function addressWith(
  path: string,
  kindName: string,
  { parameters: { kind, ...parameters } }: HistoryFilter,
  more: Readonly<Record<string, string | null>>,
): string {
  return address(path, { ...parameters, [kindName]: kind, ...more });
}

function labelOrKey(source: ReadModel, publicKey: string): string {
  return shortName(nameIn(source, publicKey) ?? "") || publicKey;
}

function suggestions(source: ReadModel): string[] {
  const names = new Set<string>();
  for (const { name: device } of source.devices()) {
    for (const { publicKey } of readablePeers(source, device)) {
      const name = shortName(source.nameOf(publicKey, device) ?? "");
      if (name !== "") names.add(name);
      if (names.size >= SUGGESTED_MAX) return [...names].sort();
    }
  }
  return [...names].sort();
}

export function Select({
  label,
  name,
  any,
  choices,
  chosen,
  prefix = "",
}: {
  label: string;
  name: string;
  any: string;
  choices: readonly string[];
  chosen: string | null;
  prefix?: string;
}) {
  return (
    <label class="half">
      <span>{label}</span>
      <select name={name}>
        <option value="">{any}</option>
        {choices.map((each) => (
          <option value={each} selected={each === chosen}>
            {prefix}
            {shortName(each)}
          </option>
        ))}
      </select>
    </label>
  );
}
