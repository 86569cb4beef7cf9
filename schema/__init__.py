"""The GraphQL schema, one file per noun."""
