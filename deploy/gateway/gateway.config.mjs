// Hive Gateway 2.15: composes the supergraph when it starts, from what the subgraphs check in. Further subgraphs are
// further lines here. Where a schema registry composes, `supergraph` names that instead. Subscriptions go to the
// subgraphs as server-sent events, which is the default.
export const gatewayConfig = {
  supergraph: {
    type: 'dev',
    services: [
      { name: 'chargegraph', url: 'http://api:8080/graphql', source: 'file', schema: './schema.graphql' },
    ],
  },
  propagateHeaders: {
    // The partner's key. Without it the hub answers UNAUTHENTICATED.
    fromClientToSubgraphs: ({ request }) => ({
      authorization: request.headers.get('authorization'),
      'x-api-key': request.headers.get('x-api-key'),
    }),
  },
};
