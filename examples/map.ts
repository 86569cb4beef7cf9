/**
 * A map of China: clusters for the whole view, then every station of it, page by page, in GCJ-02.
 *
 *     npm install --save-dev @graphql-codegen/cli @graphql-codegen/client-preset @types/node graphql typescript
 *     npx graphql-codegen --config codegen.json     # writes generated/, typed, from the *.graphql beside it
 *     npx tsc && node build/map.js --west 121.3 --south 31.1 --east 121.7 --north 31.4 --zoom 12
 *
 * `hub.ts` belongs to it.
 */

import { parseArgs } from "node:util";
import {
  ClustersDocument,
  StationsOnTheMapDocument,
  type BoundingBoxInput,
  type StationsOnTheMapQuery,
} from "./generated/graphql.js";
import { ask, HubError } from "./hub.js";

const PAGE = 100;
const MAX_PAGES = 50; // of a view that holds more, show clusters alone

type Station = StationsOnTheMapQuery["stationsInArea"]["edges"][number]["node"];

/** Shows the clusters of a view, the largest first. Tiles are two zooms finer: 64 pixels on the map. */
async function showClusters(box: BoundingBoxInput, zoom: number): Promise<void> {
  const { stationClusters } = await ask(ClustersDocument, { box, zoom: zoom + 2 });
  console.log(`${stationClusters.length} clusters:`);
  for (const cluster of stationClusters.toSorted((one, other) => other.count - one.count).slice(0, 10)) {
    const { tile, count, available, location } = cluster;
    const free = available ?? "?"; // null: too many to look at each
    console.log(`  ${tile.z}/${tile.x}/${tile.y}  ${count} stations, ${free} with a free charger  ${at(location)}`);
  }
}

/** Yields all stations of a view. A page's cursor is where the next one begins, whatever was added meanwhile. */
async function* stationsOf(box: BoundingBoxInput): AsyncGenerator<Station> {
  let after: string | null = null;
  for (let page = 1; page <= MAX_PAGES; page++) {
    const { stationsInArea }: StationsOnTheMapQuery = await ask(StationsOnTheMapDocument, { box, first: PAGE, after });
    console.error(`page ${page}: ${stationsInArea.edges.length} stations`);
    for (const { node } of stationsInArea.edges) yield node;
    if (!stationsInArea.pageInfo.hasNextPage) return;
    after = stationsInArea.pageInfo.endCursor ?? null;
  }
  throw new HubError(`this view has more than ${MAX_PAGES} pages of stations: show its clusters alone`, "TOO_MANY");
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      west: { type: "string", default: "121.3" },
      south: { type: "string", default: "31.1" },
      east: { type: "string", default: "121.7" },
      north: { type: "string", default: "31.4" },
      zoom: { type: "string", default: "12" },
    },
  });
  const box = { west: +values.west, south: +values.south, east: +values.east, north: +values.north };
  await showClusters(box, +values.zoom);
  const attributions = new Set<string>();
  let count = 0;
  for await (const { id, name, location, availability, dataRights } of stationsOf(box)) {
    if (!dataRights?.mayRepublish) continue; // by the contract with its source, the public may not see it
    if (dataRights.attribution) attributions.add(dataRights.attribution);
    count += 1;
    // Free is what is known to be free: a station with no news is shown, and promises nothing.
    const free = availability.unknown === availability.total ? "unknown" : `${availability.available} free`;
    console.log(`${name ?? id}  ${at(location)}  ${free} of ${availability.total}`);
  }
  console.log(`${count} stations. ${[...attributions].join(", ")}`);
}

function at(place: { lon: number; lat: number } | null | undefined): string {
  return place ? `${place.lon.toFixed(6)},${place.lat.toFixed(6)}` : "somewhere";
}

main().catch((error: unknown) => {
  console.error(error instanceof HubError ? error.message : error);
  process.exitCode = 1;
});
