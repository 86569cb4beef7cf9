// Asks the hub with the two reference clients: a query, a subscription whose station changes, and what is refused.
// Prints what they were given; told the address, a key, the station to follow, and how to change it.

import { createClient as createSse } from "graphql-sse";
import { createClient as createWs } from "graphql-ws";
import WebSocket from "ws";

const [url, key, station] = process.argv.slice(2);
const CHANGED = `subscription ($ids: [ID!]) { availabilityChanged(stationIds: $ids) {
  resynced changes { kind stationId station { evses { status } } } } }`;
const RESERVE = `mutation ($i: ReserveEvseInput!) { reserveEvse(input: $i) { reservation { id state } } }`;
const CANCEL = `mutation ($i: CancelReservationInput!) { cancelReservation(input: $i) { reservation { state } } }`;
const UPDATED = `subscription ($id: ID!) { reservationUpdated(id: $id) { state live } }`;

async function first(iterable) {
  for await (const result of iterable) return result;
  return null;
}

async function tour(name, client) {
  const said = {};
  said.query = await first(client.iterate({ query: "{ feeds { id } }" }));
  const following = client.iterate({ query: CHANGED, variables: { ids: [station] } });
  said.entered = (await following.next()).value;
  const wish = { evseId: `${station}-1`, holdS: 60, idempotencyKey: `conformance ${name}` };
  const held = await first(client.iterate({ query: RESERVE, variables: { i: wish } }));
  said.held = (await following.next()).value;
  const { id } = held.data.reserveEvse.reservation;
  const updates = client.iterate({ query: UPDATED, variables: { id } });
  said.reservation = [(await updates.next()).value];
  await first(
    client.iterate({ query: CANCEL, variables: { i: { reservationId: id, idempotencyKey: `end ${name}` } } }),
  );
  for await (const result of updates) said.reservation.push(result); // until it is complete
  said.freed = (await following.next()).value;
  await following.return();
  try {
    said.refused = await first(client.iterate({ query: "subscription { availabilityChanged { at } }" }));
  } catch (errors) {
    said.refused = { errors };
  }
  return said;
}

async function refusal(client) {
  try {
    return await first(client.iterate({ query: "{ feeds { id } }" }));
  } catch (problem) {
    return { code: problem.code ?? problem.response?.status };
  }
}

const address = url.replace("http", "ws");
const ws = (connectionParams) =>
  createWs({ url: address, webSocketImpl: WebSocket, connectionParams, retryAttempts: 0, lazy: true });
const sse = (headers) => createSse({ url, headers, singleConnection: false, retryAttempts: 0 });

const clients = [ws({ key }), sse({ authorization: `Bearer ${key}` })];
const strangers = [ws({ key: "wrong" }), sse({ authorization: "Bearer wrong" })];
const answer = {
  ws: await tour("ws", clients[0]),
  sse: await tour("sse", clients[1]),
  refused: [await refusal(strangers[0]), await refusal(strangers[1])],
};
for (const client of [...clients, ...strangers]) await client.dispose();
console.log(JSON.stringify(answer));
