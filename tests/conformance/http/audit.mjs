// Runs graphql-http's audit of GraphQL over HTTP against a server, and prints its results as one JSON array.
// node audit.mjs URL HEADERS, where HEADERS is a JSON object of what each request carries besides its own.

import { auditServer } from 'graphql-http';

const [url, headers] = process.argv.slice(2);

const results = await auditServer({
  url,
  fetchFn: (input, init = {}) => fetch(input, { ...init, headers: { ...init.headers, ...JSON.parse(headers) } }),
});

console.log(JSON.stringify(results.map(({ id, name, status, reason }) => ({ id, name, status, reason }))));
