"""What tools of others say of the schema: graphql-eslint's rules, and Relay's compiler of a client's connections."""

import json
import os
import re

from schema.root import schema, sdl
from tests.conformance.node import node_folder, run_node
from tests.servers.fixtures import had_or_skipped

CLIENT = """
import { graphql } from 'relay-runtime';

export const nearby = graphql`
  fragment Client_nearby on Query
  @refetchable(queryName: "ClientNearbyQuery")
  @argumentDefinitions(
    near: {type: "PositionInput!"}, first: {type: "Int", defaultValue: 20}, after: {type: "String"}
  ) {
    nearbyStations(near: $near, radiusM: 5000, first: $first, after: $after) @connection(key: "Client_nearbyStations") {
      totalCount
      edges { distanceM node { id name evses { id status } } }
    }
  }
`;

export const area = graphql`
  fragment Client_area on Query
  @refetchable(queryName: "ClientAreaQuery")
  @argumentDefinitions(
    box: {type: "BoundingBoxInput"}, first: {type: "Int", defaultValue: 20}, after: {type: "String"}
  ) {
    stationsInArea(box: $box, first: $first, after: $after) @connection(key: "Client_stationsInArea") {
      edges { node { id } }
    }
  }
`;

export const route = graphql`
  fragment Client_route on Query
  @refetchable(queryName: "ClientRouteQuery")
  @argumentDefinitions(route: {type: "GeoJSON!"}, first: {type: "Int", defaultValue: 20}, after: {type: "String"}) {
    stationsAlongRoute(route: $route, corridorM: 3000, first: $first, after: $after)
    @connection(key: "Client_stationsAlongRoute") {
      edges { alongM node { id } }
    }
  }
`;

export const mine = graphql`
  fragment Client_mine on Query
  @refetchable(queryName: "ClientMineQuery")
  @argumentDefinitions(first: {type: "Int", defaultValue: 20}, after: {type: "String"}) {
    reservations(first: $first, after: $after) @connection(key: "Client_reservations") {
      edges { node { id state evse { id } } }
    }
  }
`;

export const reserve = graphql`
  mutation ClientReserveMutation($input: ReserveEvseInput!) {
    reserveEvse(input: $input) { reservation { id ttlS evse { id status } } replayed userErrors { code message } }
  }
`;
"""


def test_the_schema_keeps_graphql_eslints_rules(tmp_path):
    with had_or_skipped():
        folder = node_folder("schema")
    path = tmp_path / "schema.graphql"
    path.write_text(sdl(), encoding="utf-8")
    done = run_node(folder, "lint.mjs", str(path))
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == []

    path.write_text(sdl().replace("  localId: String!", "  local_id: String!"), encoding="utf-8")
    told = json.loads(run_node(folder, "lint.mjs", str(path)).stdout)
    assert told and all('"local_id" should be in camelCase' in each for each in told)


def test_relay_compiles_every_connection(tmp_path):
    with had_or_skipped():
        folder = node_folder("schema")
    sources = tmp_path / "src"
    sources.mkdir()
    (sources / "Client.ts").write_text(CLIENT, encoding="utf-8")
    (tmp_path / "schema.graphql").write_text(sdl(), encoding="utf-8")
    settings = tmp_path / "relay.json"
    settings.write_text(
        json.dumps(
            {
                "src": os.path.relpath(sources, folder),
                "schema": os.path.relpath(tmp_path / "schema.graphql", folder),
                "language": "typescript",
            }
        )
    )
    done = run_node(folder, "relay-compiler", str(settings))
    assert done.returncode == 0, done.stdout + done.stderr
    made = {path.name for path in (sources / "__generated__").iterdir()}
    connections = set(re.findall(r"fragment (\w+)", CLIENT))
    query = schema._schema.query_type
    assert query is not None
    fields = [name for name, field in query.fields.items() if str(field.type).endswith("Connection!")]
    assert "nearbyStations" in fields
    assert {f"{name}.graphql.ts" for name in connections} <= made
    assert all(f'key: "Client_{field}"' in CLIENT for field in fields), fields
    assert "ClientReserveMutation.graphql.ts" in made
