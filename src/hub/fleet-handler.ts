/** Answers the paths below /v1/fleet/: the messages of gateways, and on the Unix socket the requests of `wgmon hub`. */

import { isGatewayName } from "../fleet/gateway-name.ts";
import { MESSAGE_BYTES_MAX } from "../fleet/messages.ts";
import { type HubRole, standbyText } from "../http/fleet-model.ts";
import { problem } from "../http/problem.ts";
import type { FleetHandler } from "../http/server.ts";
import { secretIn } from "./enrolled.ts";
import type { GatewayView } from "./fleet-state.ts";
import { HttpsReceiver } from "./https-receiver.ts";
import type { Hub } from "./hub.ts";

/** The responses to the requests of `wgmon hub`. */
export interface FleetViews {
  /** null: it was enrolled before, and its secret stays. */
  readonly enrolled: { readonly secret: string | null };
  readonly gateways: { readonly items: readonly GatewayView[]; readonly role: HubRole };
  readonly rebuilding: { readonly gateways: number };
}

const GATEWAYS = "/v1/fleet/gateways";

export function makeFleetHandler(
  hub: Hub,
  log: ConstructorParameters<typeof HttpsReceiver>[0]["log"],
): FleetHandler {
  const { clock, enrolled, fleet, intake } = hub.stages;
  const receiver = new HttpsReceiver({ clock, log, enrolled, intake });
  return {
    bodyMaxBytes: MESSAGE_BYTES_MAX,
    async handle(request, isUnixSocket) {
      const { pathname, searchParams } = new URL(request.url);
      const { method } = request;
      const standby = standbyText(fleet.role());
      if (!isUnixSocket) {
        return standby === null
          ? await receiver.handle(request)
          : problem(503, { detail: standby });
      }
      if (pathname === GATEWAYS && method === "GET") {
        return Response.json({
          items: fleet.gateways(),
          role: fleet.role(),
        } satisfies FleetViews["gateways"]);
      }
      // The hub that works would not know of it.
      if (standby !== null) return problem(422, { detail: `${standby}; use the command there` });
      if (pathname === "/v1/fleet/rebuild" && method === "POST") {
        const gateway = searchParams.get("gateway");
        if (gateway !== null && enrolled.get(gateway) === null) return problem(404);
        const gateways = hub.rebuild(gateway);
        return Response.json({ gateways } satisfies FleetViews["rebuilding"]);
      }
      const name = pathname.startsWith(`${GATEWAYS}/`) ? pathname.slice(GATEWAYS.length + 1) : "";
      if (!isGatewayName(name)) return await receiver.handle(request);
      if (method === "POST") {
        const text = await request.text();
        const given = text === "" ? null : secretIn(text);
        if (text !== "" && given === null) return problem(422, { detail: "there is no secret" });
        const isNew = enrolled.get(name) === null || searchParams.get("replace") === "true";
        const secret = given !== null ? hub.enroll(name, given) : isNew ? hub.enroll(name) : null;
        return Response.json({ secret } satisfies FleetViews["enrolled"]);
      }
      if (method !== "DELETE") return problem(405, { headers: { allow: "POST, DELETE" } });
      return hub.forget(name) ? Response.json({}) : problem(404);
    },
  };
}
