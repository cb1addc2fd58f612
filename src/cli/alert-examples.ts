/** `wgmon alerts examples`: rules to copy into the settings file. A test reads them. */

export const ALERT_EXAMPLES = `# Rules for wgmon. Copy what you need into the settings file, or into a file in wgmon.d beside it, and change
# the names. wgmon check FILE prints what the rules mean; docs/alerts.md describes them.

# Alerts go to targets that accept them. A target with events gets no alerts unless alert.* is in the list.
#[[target]]
#name = "ops"
#url = "https://hooks.example.net/wgmon"
#events = ["alert.*"]

# An office that must always be connected. Peers are named by their name, by public key, or with * and ?.
[[alert]]
name = "office-down"
kind = "down"
peers = ["office-*"]
for = "2m"
repeat = "4h"

# The same for all peers with a tag, only in working hours. If it is still down when they begin, it is sent then.
[[alert]]
name = "shops-down"
kind = "down"
tags = ["shop"]
for = "5m"
times = "mon-fri 08:00-18:00 Europe/Berlin"
repeat = "1d"

# On a hub: a site that is configured on two gateways is down only if it is connected to neither.
[[alert]]
name = "site-down-everywhere"
kind = "down"
tags = ["site"]
everywhere = true

# A peer whose connection is unstable.
[[alert]]
name = "unstable"
kind = "flapping"
tags = ["site"]
disconnects = 5
within = "1h"

# A peer that is connected, but whose answers do not arrive: a firewall or a route on its side.
[[alert]]
name = "black-hole"
kind = "no-return-traffic"
tags = ["site"]

# A configuration that was copied to a second machine.
[[alert]]
name = "copied-key"
kind = "shared-key"

# 50 GB a month for each peer with the tag mobile. The month begins on the 15th.
[[alert]]
name = "mobile-quota"
kind = "traffic"
tags = ["mobile"]
quota = "50GB"
per = "month"
reset_day = 15
percents = [80, 100]
time_zone = "Europe/Berlin"

# More than 100 Mbit/s for 15 minutes.
[[alert]]
name = "heavy-use"
kind = "traffic"
rate = "100Mbit/s"
over = "15m"
severity = "info"

# Contractors are connected at night or at the weekend.
[[alert]]
name = "contractors-at-night"
kind = "hours"
tags = ["contractor"]
allowed = "mon-fri 07:00-20:00 Europe/Berlin"

# A peer in a country in which it was never seen. It needs a file with countries, at the top of the settings file:
# places = "/var/lib/GeoIP/GeoLite2-Country.mmdb"
#[[alert]]
#name = "new-country"
#kind = "place"
#new = "country"

# Peers that are not used: one summary a day.
[[alert]]
name = "unused"
kind = "unused"
days = 90
at = "09:00"
time_zone = "Europe/Berlin"

# Another program or person changed the peers of a device.
[[alert]]
name = "changed"
kind = "changed"
changes = ["added", "removed", "allowed-ips"]

# Many handshakes with a wrong preshared key, or of a removed peer. It needs, at the top of the
# settings file:
# report_unknown = true
[[alert]]
name = "wrong-keys"
kind = "handshakes"
messages = 20
within = "10m"

# A target that fails is reported to the other targets.
[[alert]]
name = "target-fails"
kind = "target"
for = "10m"

# Try a rule before it sends anything: its alerts are only recorded, and wgmon alerts lists them.
[[alert]]
name = "trial"
kind = "down"
peers = ["*"]
for = "1h"
dry_run = true
`;
