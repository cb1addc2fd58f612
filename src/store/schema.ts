/** The tables of the store, and the migrations from those of older versions. */

/**
 * One entry for each version, which is the file's `user_version`; `$` stands for the name of the database. An
 * entry that has been released is never changed: a new version is a new entry.
 */
export const migrations: readonly string[] = [
  `
  -- The reported events, in order. seq is never reused, because readers remember their position by it.
  CREATE TABLE $.events (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    type TEXT NOT NULL,
    at_ms INTEGER NOT NULL,
    body TEXT NOT NULL
  ) STRICT;
  CREATE INDEX $.events_by_time ON events (at_ms);

  -- Open sessions (ended_at_ms is null) and ended ones; state is what the tracker needs to resume.
  CREATE TABLE $.sessions (
    device TEXT NOT NULL,
    public_key TEXT NOT NULL,
    started_at_ms INTEGER NOT NULL,
    ended_at_ms INTEGER,
    reason TEXT,
    endpoint TEXT,
    rx_bytes INTEGER NOT NULL,
    tx_bytes INTEGER NOT NULL,
    roams INTEGER NOT NULL,
    state TEXT,
    PRIMARY KEY (device, public_key, started_at_ms)
  ) STRICT, WITHOUT ROWID;
  CREATE INDEX $.sessions_by_end ON sessions (ended_at_ms);

  -- The devices of the last scan, as JSON; no row: no scan so far.
  CREATE TABLE $.devices (id INTEGER PRIMARY KEY CHECK (id = 1), state TEXT NOT NULL) STRICT;

  -- Events to be delivered, for each target. message: the digest that the event is part of.
  CREATE TABLE $.outbox (
    target TEXT NOT NULL,
    seq INTEGER NOT NULL,
    added_at_ms INTEGER NOT NULL,
    message TEXT,
    PRIMARY KEY (target, seq)
  ) STRICT, WITHOUT ROWID;
  CREATE INDEX $.outbox_by_seq ON outbox (seq);

  CREATE TABLE $.targets (
    target TEXT PRIMARY KEY,
    label TEXT NOT NULL,
    failures INTEGER NOT NULL,
    next_at_ms INTEGER NOT NULL,
    reason TEXT NOT NULL
  ) STRICT, WITHOUT ROWID;

  -- Dead letters: events that were refused or waited for too long.
  CREATE TABLE $.dead_letters (
    target TEXT NOT NULL,
    seq INTEGER NOT NULL,
    label TEXT NOT NULL,
    reason TEXT NOT NULL,
    at_ms INTEGER NOT NULL,
    PRIMARY KEY (target, seq)
  ) STRICT, WITHOUT ROWID;
  CREATE INDEX $.dead_letters_by_seq ON dead_letters (seq);
  `,
  `
  -- Indexes for queries: the history of a peer, events of a type, the latest sessions.
  CREATE INDEX $.events_by_peer ON events (body -> 'data' -> 'peer' ->> 'publicKey');
  CREATE INDEX $.events_by_type ON events (type);
  CREATE INDEX $.sessions_by_start ON sessions (started_at_ms);

  -- Bytes received from and sent to peers in each interval of five minutes; no row: no traffic. peer: a
  -- hash of device and public key, which makes a row a third as long. The key begins with slot, so new
  -- samples are written at the end of the table.
  CREATE TABLE $.traffic (
    slot INTEGER NOT NULL,
    peer INTEGER NOT NULL,
    rx_bytes INTEGER NOT NULL,
    tx_bytes INTEGER NOT NULL,
    PRIMARY KEY (slot, peer)
  ) STRICT, WITHOUT ROWID;
  `,
  `
  -- Random bytes that the keys of targets without a name depend on: store/target-key.ts.
  CREATE TABLE $.secret (id INTEGER PRIMARY KEY CHECK (id = 1), value BLOB NOT NULL) STRICT;
  `,
  `
  -- The state of the clock that the times here were taken from; ClockState in base/wall-clock.ts.
  CREATE TABLE $.clock (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    boot_id TEXT NOT NULL,
    booted_at_ms INTEGER NOT NULL,
    unsure_since_ms INTEGER
  ) STRICT;
  `,
  `
  -- Failed attempts in a row that can be retried: the pause before the next attempt grows with them.
  ALTER TABLE $.targets ADD COLUMN retries INTEGER NOT NULL DEFAULT 0;
  `,
  `
  -- Fields of SavedSession in sessions/session.ts that were renamed.
  UPDATE $.sessions SET state = replace(replace(state, '"lastSignMs":', '"lastActivityMs":'), '"gone":', '"ending":')
    WHERE state IS NOT NULL;
  `,
  `
  -- The sums of traffic by hour and by day (UTC), which are kept longer than those of five minutes.
  CREATE TABLE $.traffic_hours (
    slot INTEGER NOT NULL,
    peer INTEGER NOT NULL,
    rx_bytes INTEGER NOT NULL,
    tx_bytes INTEGER NOT NULL,
    PRIMARY KEY (slot, peer)
  ) STRICT, WITHOUT ROWID;
  CREATE TABLE $.traffic_days (
    slot INTEGER NOT NULL,
    peer INTEGER NOT NULL,
    rx_bytes INTEGER NOT NULL,
    tx_bytes INTEGER NOT NULL,
    PRIMARY KEY (slot, peer)
  ) STRICT, WITHOUT ROWID;
  INSERT INTO $.traffic_hours
    SELECT slot / 12 AS hour, peer, sum(rx_bytes), sum(tx_bytes) FROM $.traffic GROUP BY hour, peer;
  INSERT INTO $.traffic_days
    SELECT slot / 288 AS day, peer, sum(rx_bytes), sum(tx_bytes) FROM $.traffic GROUP BY day, peer;

  -- Device and public key of each peer in traffic, and the last day that it has a row for.
  CREATE TABLE $.traffic_peers (
    peer INTEGER PRIMARY KEY,
    device TEXT NOT NULL,
    public_key TEXT NOT NULL,
    last_day INTEGER NOT NULL
  ) STRICT;

  -- Connected peers and the bytes of all peers in each interval of five minutes; no row: wgmon did not run.
  -- connected is null in rows of a time when it was not recorded.
  CREATE TABLE $.gateway (
    slot INTEGER PRIMARY KEY,
    rx_bytes INTEGER NOT NULL,
    tx_bytes INTEGER NOT NULL,
    connected INTEGER
  ) STRICT;
  INSERT INTO $.gateway SELECT slot, sum(rx_bytes), sum(tx_bytes), NULL FROM $.traffic GROUP BY slot;

  CREATE INDEX $.events_by_device ON events (body -> 'data' ->> 'device');
  CREATE INDEX $.events_by_device_and_type ON events (body -> 'data' ->> 'device', type);
  `,
  `
  -- The state of the alert engine, JSON by key: alerts/state.ts.
  CREATE TABLE $.alert_state (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;

  -- Alerts that fired. id: the number in the engine's id. resolved_at_ms is null while it fires, and for alerts that
  -- are not resolved because they are about a moment.
  CREATE TABLE $.alerts (
    id INTEGER PRIMARY KEY,
    rule TEXT NOT NULL,
    kind TEXT NOT NULL,
    severity TEXT NOT NULL,
    device TEXT,
    public_key TEXT,
    peer_name TEXT,
    target TEXT,
    resolves INTEGER NOT NULL,
    is_sent INTEGER NOT NULL,
    since_ms INTEGER NOT NULL,
    fired_at_ms INTEGER NOT NULL,
    resolved_at_ms INTEGER,
    sentence TEXT NOT NULL
  ) STRICT;
  CREATE INDEX $.alerts_by_time ON alerts (fired_at_ms, id);
  CREATE INDEX $.alerts_by_peer ON alerts (public_key, fired_at_ms);
  CREATE INDEX $.alerts_firing ON alerts (fired_at_ms) WHERE resolved_at_ms IS NULL AND resolves = 1;

  -- What was sent about alerts, and what was held back. event_seq is null for what was not sent. suppressed_by and
  -- targets are JSON.
  CREATE TABLE $.alert_notices (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    type TEXT NOT NULL,
    at_ms INTEGER NOT NULL,
    rule TEXT NOT NULL,
    dry_run INTEGER NOT NULL,
    sentence TEXT NOT NULL,
    suppressed_by TEXT,
    event_seq INTEGER,
    targets TEXT NOT NULL
  ) STRICT;
  CREATE INDEX $.alert_notices_by_time ON alert_notices (at_ms);

  -- The alerts of each notice.
  CREATE TABLE $.noticed_alerts (
    alert INTEGER NOT NULL,
    notice INTEGER NOT NULL,
    PRIMARY KEY (alert, notice)
  ) STRICT, WITHOUT ROWID;
  CREATE INDEX $.noticed_alerts_by_notice ON noticed_alerts (notice);
  `,
  `
  -- The epochs of the events: those from first_seq on, until the next epoch begins. No row: none was needed so far.
  CREATE TABLE $.epochs (first_seq INTEGER PRIMARY KEY, epoch TEXT NOT NULL) STRICT;

  -- How far each hub has the events. stream_seq: the place of the last one in the NATS stream; null: none, or no NATS.
  CREATE TABLE $.uplinks (
    target TEXT PRIMARY KEY,
    epoch TEXT NOT NULL,
    sent_seq INTEGER NOT NULL,
    confirmed_seq INTEGER NOT NULL,
    stream_seq INTEGER
  ) STRICT, WITHOUT ROWID;

  -- On a hub: the gateways. secret is null if the transport authenticates the gateway. state is JSON: GatewayState in
  -- hub/enrolled.ts.
  CREATE TABLE $.fleet_gateways (
    gateway TEXT PRIMARY KEY,
    secret TEXT,
    state TEXT NOT NULL
  ) STRICT, WITHOUT ROWID;

  -- On a hub: the epochs of each gateway, in the order in which they became known. confirmed_seq: all events from
  -- first_seq up to this are here, or are lost on the gateway.
  CREATE TABLE $.fleet_epochs (
    id INTEGER PRIMARY KEY,
    gateway TEXT NOT NULL,
    epoch TEXT NOT NULL,
    first_seq INTEGER NOT NULL,
    confirmed_seq INTEGER NOT NULL,
    UNIQUE (gateway, epoch)
  ) STRICT;

  -- On a hub: the place of each event in the gateway's store, and the event. source: the id of the epoch.
  CREATE TABLE $.fleet_events (
    source INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    event INTEGER NOT NULL,
    PRIMARY KEY (source, seq)
  ) STRICT, WITHOUT ROWID;
  CREATE INDEX $.fleet_events_by_event ON fleet_events (event);
  CREATE INDEX $.fleet_events_by_source ON fleet_events (source, event);

  -- On a hub: its own events about a gateway, which have the gateway, or a device of it such as berlin/wg0. The types of
  -- such events (alert, device, fleet, gateway) come before this word; most events have another one.
  CREATE INDEX $.events_about_gateway ON events (coalesce(body -> 'data' ->> 'gateway',
    nullif(substr(body -> 'data' ->> 'device', 1, instr(body -> 'data' ->> 'device', '/') - 1), '')))
    WHERE type < 'handshake';
  `,
];

export const SCHEMA_VERSION = migrations.length;
