/** The table of devices. */

import { shortKey } from "../base/wireguard.ts";
import { splitDevice } from "../fleet/gateway-name.ts";
import type { DeviceView } from "../http/schemas.ts";
import { ListNote, Name, None } from "./components.tsx";
import { address, count, gatewayAddress, idOf } from "./format.ts";
import { item, type PageSnapshot } from "./page-diff.ts";

export function Devices({
  devices,
  snapshot,
}: {
  devices: readonly DeviceView[];
  snapshot: PageSnapshot;
}) {
  const rows = devices.map(({ name, publicKey, listenPort, peers, connected, unknown }) => {
    const id = idOf("d", name);
    const { gateway } = splitDevice(name);
    return item(id, <tr id={id}></tr>, [
      <th scope="row">
        <a href={address(gateway === null ? "/" : gatewayAddress(gateway), { device: name })}>
          <Name text={name} />
        </a>
      </th>,
      <td class="number">{listenPort === 0 ? <None /> : listenPort}</td>,
      <td class="number">
        {unknown === undefined ? count(connected) : "unknown"} of {count(peers)}
      </td>,
      <td>
        {publicKey === null ? <None /> : <code title={publicKey}>{shortKey(publicKey)}</code>}
      </td>,
    ]);
  });
  return (
    <>
      <table>
        <caption class="unseen">Devices</caption>
        <thead>
          <tr>
            <th scope="col">Device</th>
            <th scope="col" class="number">
              Port
            </th>
            <th scope="col" class="number">
              Connected
            </th>
            <th scope="col">Public key</th>
          </tr>
        </thead>
        <tbody id="devices">{snapshot.list("devices", rows)}</tbody>
      </table>
      <ListNote list="devices" snapshot={snapshot}>
        {rows.length === 0 ? "None yet." : ""}
      </ListNote>
    </>
  );
}
