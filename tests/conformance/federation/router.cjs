// Tells the compatibility suite, before each of its files, which port its gateway got.
require('@apollo/federation-subgraph-compatibility-tests/dist/utils/client').ROUTER_URL = process.env.ROUTER_URL;
