// Holds an Evse, asks the same again, and lets it go, in types that were generated. Prints what it got, as JSON.

import {
  CancelDocument,
  FreeNearbyDocument,
  HoldDocument,
  type EvseStatus,
  type OutcomeFragment,
  type ReserveEvseInput,
} from "./generated/graphql.js";
import { ask } from "./hub.js";

const free: EvseStatus = "AVAILABLE";
const near = { lon: 121.4737, lat: 31.2304 };
const { nearbyStations } = await ask(FreeNearbyDocument, { near, radiusM: 5000, minPowerKw: 60 });
const evses = nearbyStations.edges.flatMap(({ node }) => node.evses);
const input: ReserveEvseInput = {
  evseId: evses.find(({ status }) => status === free)?.id ?? "none",
  holdS: 600,
  idempotencyKey: "typescript-1",
};
const held: OutcomeFragment = (await ask(HoldDocument, { input })).reserveEvse;
const again: OutcomeFragment = (await ask(HoldDocument, { input })).reserveEvse;
const reservationId: string = held.reservation?.id ?? "none";
const gone = (await ask(CancelDocument, { input: { reservationId, idempotencyKey: "typescript-2" } })).cancelReservation;
const expiresAt: string | undefined = held.reservation?.expiresAt;
console.log(JSON.stringify({ held, again, gone, expiresAt }));
