// graphql-eslint's rules for schemas, and what we leave out of them and why: node lint.mjs schema.graphql
import { readFileSync } from 'node:fs';
import graphql from '@graphql-eslint/eslint-plugin';
import { ESLint } from 'eslint';

// A subgraph uses directives that Federation defines.
const FEDERATION = `
directive @link(url: String!, import: [String!]) repeatable on SCHEMA
directive @key(fields: String!, resolvable: Boolean) repeatable on OBJECT | INTERFACE
directive @shareable repeatable on OBJECT | FIELD_DEFINITION
directive @cost(weight: Int!) on
  ARGUMENT_DEFINITION | ENUM | FIELD_DEFINITION | INPUT_FIELD_DEFINITION | OBJECT | SCALAR
directive @listSize(
  assumedSize: Int, slicingArguments: [String!], sizedFields: [String!], requireOneSlicingArgument: Boolean = true
) on FIELD_DEFINITION
`;

const theirs = { ...graphql.configs['flat/schema-recommended'].rules, ...graphql.configs['flat/schema-relay'].rules };
const [, names] = theirs['@graphql-eslint/naming-convention'];
const [, described] = theirs['@graphql-eslint/require-description'];
const rules = {
  ...theirs,
  // Federation's own names begin with an underscore, and have no descriptions.
  '@graphql-eslint/naming-convention': [
    'error',
    {
      ...names,
      allowLeadingUnderscore: true,
      types: { style: 'PascalCase', ignorePattern: '^_' },
      FieldDefinition: { style: 'camelCase', ignorePattern: '^_' },
    },
  ],
  '@graphql-eslint/require-description': [
    'error',
    { ...described, ignoredSelectors: ['[name.value=/^_/]'] },
  ],
  // What can be asked for again has an id and a key; positions, counts and payloads are values, and no client caches them.
  '@graphql-eslint/strict-id-in-types': 'off',
  // We page forwards alone.
  '@graphql-eslint/relay-arguments': ['error', { includeBoth: false }],
  // A station's Evses or an operator's numbers are few and come whole; what can be long is a connection.
  '@graphql-eslint/relay-edge-types': [
    'error',
    { withEdgeSuffix: true, shouldImplementNode: false, listTypeCanWrapOnlyEdgeType: false },
  ],
};

// One by one, as [rule, line, why]. One that meets nothing is an error too.
const LEFT_OUT = [
  ['no-typename-prefix', /^ {2}evseCode: /, 'it is what the standard calls it; `code` alone would be anything'],
  ['relay-arguments', /^ {2}stations: StationConnection!/, 'the first page of a batch; `nearbyStations` goes on from it'],
];

const [path] = process.argv.slice(2);
const schema = readFileSync(path, 'utf-8');
const lines = schema.split('\n');
const eslint = new ESLint({
  overrideConfigFile: true,
  overrideConfig: [
    {
      files: ['**/*.graphql'],
      plugins: { '@graphql-eslint': graphql },
      languageOptions: { parser: graphql.parser, parserOptions: { graphQLConfig: { schema: schema + FEDERATION } } },
      rules,
    },
  ],
});
const [{ messages }] = await eslint.lintText(schema, { filePath: 'schema.graphql' });
const met = new Set();
const told = messages.filter(({ ruleId, line }) => {
  const left = LEFT_OUT.find(([rule, text]) => ruleId === `@graphql-eslint/${rule}` && text.test(lines[line - 1]));
  met.add(left);
  return left === undefined;
});
const stale = LEFT_OUT.filter((left) => !met.has(left)).map(([rule, text]) => `${rule}: nothing is left out by ${text}`);
process.stdout.write(
  JSON.stringify([...told.map(({ ruleId, line, message }) => `${line}: ${ruleId}: ${message}`), ...stale]),
);
