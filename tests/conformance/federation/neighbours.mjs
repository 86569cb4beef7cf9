// Two subgraphs beside the hub's, the fleet's and the tariff's: node neighbours.mjs FLEET_PORT TARIFF_PORT world.json
import { readFileSync } from 'node:fs';
import { ApolloServer } from '@apollo/server';
import { startStandaloneServer } from '@apollo/server/standalone';
import { buildSubgraphSchema } from '@apollo/subgraph';
import { GraphQLError } from 'graphql';
import gql from 'graphql-tag';

const [fleetPort, tariffPort, world] = process.argv.slice(2);
const { vehicles, tariffs } = JSON.parse(readFileSync(world, 'utf-8'));
const byKey = (id) => (id === null || id === undefined ? null : { id });

const fleet = {
  Query: {
    vehicles: () => ({
      edges: vehicles.map((node) => ({ cursor: node.plate, node })),
      pageInfo: { hasNextPage: false, hasPreviousPage: false },
    }),
    vehicle: (_, { plate }) => vehicles.find((vehicle) => vehicle.plate === plate),
  },
  Mutation: {
    dispatch(_, { plate, reservationId }) {
      const vehicle = vehicles.find((each) => each.plate === plate);
      if (!vehicle) throw new GraphQLError('no such vehicle', { extensions: { code: 'NO_SUCH_VEHICLE' } });
      vehicle.reservation = reservationId;
      return vehicle;
    },
  },
  Vehicle: {
    __resolveReference: ({ plate }) => vehicles.find((vehicle) => vehicle.plate === plate),
    depots: ({ depots }) => depots.map(byKey),
    evse: ({ evse }) => byKey(evse),
    operator: ({ operator }) => byKey(operator),
    reservation: ({ reservation }) => byKey(reservation),
  },
  Station: {
    __resolveReference: (station) => station,
    advice: ({ localId, availability }) => `${localId}: ${availability.available > 0 ? 'go' : 'wait'}`,
  },
  Evse: {
    __resolveReference: (evse) => evse,
    usable: ({ status }) => status === 'AVAILABLE',
  },
  Operator: {
    __resolveReference: (operator) => operator,
    contract: ({ id }) => `contract with ${id}`,
  },
  Reservation: {
    __resolveReference: (reservation) => reservation,
    vehicle: ({ id }) => vehicles.find((vehicle) => vehicle.reservation === id) ?? null,
  },
};

const tariff = {
  Query: { tariff: (_, { id }) => tariffs.find((each) => each.id === id) },
  Tariff: {
    __resolveReference: ({ id }) => tariffs.find((each) => each.id === id),
    stations: ({ stations }) => stations.map(byKey),
  },
  Station: {
    __resolveReference: (station) => station,
    tariffs: ({ id }) => tariffs.filter(({ stations }) => stations.includes(id)),
  },
  Operator: {
    __resolveReference: (operator) => operator,
    tariffs: ({ id }) => tariffs.filter(({ operator }) => operator === id),
  },
};

async function serve(name, resolvers, port) {
  const typeDefs = gql(readFileSync(new URL(`${name}.graphql`, import.meta.url), 'utf-8'));
  const server = new ApolloServer({ schema: buildSubgraphSchema({ typeDefs, resolvers }) });
  await startStandaloneServer(server, { listen: { host: '127.0.0.1', port: Number(port) } });
}

await serve('fleet', fleet, fleetPort);
await serve('tariff', tariff, tariffPort);
