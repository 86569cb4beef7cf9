"""HTTP: the GraphQL endpoint, partners' keys, operators' pushes, health."""
