// Starts GraphiQL on the endpoint that served this page. The key comes from the address's fragment (#key=…), which
// browsers never send to a server, or from the form; it is remembered until this tab is closed. The fragment may name a
// query and its variables, too, as the map page's links do.
"use strict";

const REMEMBERED = "chargegraph-key";
const QUERY = `# What is free near me: GB/T DC, 60 kW or more, fresh news, nobody holds it.
query Nearby($lon: Float!, $lat: Float!) {
  nearbyStations(near: {lon: $lon, lat: $lat}, radiusM: 5000, first: 20,
                 filter: {availableNow: true, connectorTypes: [GBT_DC], minPowerKw: 60}) {
    totalCount
    edges {
      cursor
      distanceM
      node {
        id name address openNow
        operator { id name }
        location { lon lat }
        availability { available total asOf stale }
        evses { id status statusAgeS connectors { type maxPowerKw } }
      }
    }
    pageInfo { hasNextPage endCursor }
  }
}
`;

const fragment = new URLSearchParams(location.hash.slice(1));
const key = document.getElementById("key");
key.value = fragment.get("key") || sessionStorage.getItem(REMEMBERED) || "";
sessionStorage.setItem(REMEMBERED, key.value);
const place = { lon: Number(fragment.get("lon")) || 121.4737, lat: Number(fragment.get("lat")) || 31.2304 };

const given = fragment.has("query")
  ? { query: fragment.get("query"), variables: fragment.get("variables") ?? "{}" }
  : { variables: JSON.stringify(place, null, 2) };

document.getElementById("key-form").addEventListener("submit", (event) => {
  event.preventDefault();
  sessionStorage.setItem(REMEMBERED, key.value.trim());
  location.hash = "";
  location.reload();
});

const fetcher = GraphiQL.createFetcher({
  url: "/graphql",
  fetch: (url, options) => {
    const secret = sessionStorage.getItem(REMEMBERED);
    const key = secret ? { Authorization: `Bearer ${secret}` } : {};
    return fetch(url, { ...options, headers: { "X-Cost": "1", ...key, ...options.headers } });
  },
});

ReactDOM.createRoot(document.getElementById("ide")).render(
  React.createElement(GraphiQL, {
    fetcher,
    defaultQuery: QUERY,
    ...given,
    defaultEditorToolsVisibility: "variables",
  }),
);
