// Composes subgraphs with one of the libraries that gateways use, and prints what it says as JSON:
// node compose.mjs apollo|guild|wundergraph hub=hub.graphql fleet=fleet.graphql …
import { readFileSync } from 'node:fs';
import { parse, print } from 'graphql';

const [composer, ...files] = process.argv.slice(2);
const subgraphs = files.map((file) => {
  const [name, path] = file.split('=');
  const url = process.env[`${name.toUpperCase()}_URL`] ?? `http://${name}/graphql`;
  return { name, url, typeDefs: parse(readFileSync(path, 'utf-8')) };
});

const composers = {
  async apollo() {
    const { composeServices } = await import('@apollo/composition');
    const { errors = [], supergraphSdl, hints = [] } = composeServices(subgraphs);
    return { errors: errors.map(String), hints: hints.map(String), supergraph: supergraphSdl ?? null };
  },
  async guild() {
    const { composeServices } = await import('@theguild/federation-composition');
    const { errors = [], supergraphSdl } = composeServices(subgraphs);
    return { errors: errors.map(String), hints: [], supergraph: supergraphSdl ?? null };
  },
  async wundergraph() {
    const { federateSubgraphs, ROUTER_COMPATIBILITY_VERSION_ONE } = await import('@wundergraph/composition');
    const { success, errors = [], warnings = [], federatedGraphAST } = federateSubgraphs({
      subgraphs: subgraphs.map(({ typeDefs, ...named }) => ({ ...named, definitions: typeDefs })),
      version: ROUTER_COMPATIBILITY_VERSION_ONE,
    });
    return { errors: errors.map(String), hints: warnings.map(String), supergraph: success ? print(federatedGraphAST) : null };
  },
};

process.stdout.write(JSON.stringify(await composers[composer]()));
