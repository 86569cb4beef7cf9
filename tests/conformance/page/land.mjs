// Makes the map page's outline of the land from Natural Earth (by world-atlas, 1:10m): `node land.mjs > land.json`.
//
// East Asia keeps its detail, and the rest of the world becomes coarse, so that the whole is small. Only the shore is
// kept; there are no borders in it. Numbers are thousandths of a degree; each ring is its first point, and then steps.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { feature } from "topojson-client";

const UNIT_DEG = 0.001;
const DETAIL = { west: 105, south: 17, east: 127, north: 43, toleranceDeg: 0.004, leastDeg: 0.02 };
const NEAR = { west: 68, south: 2, east: 146, north: 54, toleranceDeg: 0.03, leastDeg: 0.08 };
const FAR = { toleranceDeg: 0.15, leastDeg: 0.6 };
const EAST_END_DEG = -169;
const SOUTH_DEG = -60; // no Antarctica

const require = createRequire(import.meta.url);
const atlas = JSON.parse(readFileSync(require.resolve("world-atlas/land-10m.json"), "utf8"));
const land = feature(atlas, atlas.objects.land).features.flatMap(({ geometry }) =>
  geometry.type === "Polygon" ? [geometry.coordinates] : geometry.coordinates,
);

// A ring that crosses the antimeridian goes on beyond 180 degrees, instead of back round the world.
function unwound(ring) {
  let turns = 0;
  const points = ring.map(([lon, lat], i) => {
    const step = i === 0 ? 0 : lon - ring[i - 1][0];
    if (Math.abs(step) > 180) turns -= 360 * Math.sign(step);
    return [lon + turns, lat];
  });
  const middle = points.reduce((all, [lon]) => all + lon, 0) / points.length;
  // The end of Siberia stays with the rest of it.
  const home = Math.max(...points.map(([lon]) => lon)) < EAST_END_DEG ? -360 : 360 * Math.round(middle / 360);
  return points.map(([lon, lat]) => [lon - home, lat]);
}

function zoneOf([lon, lat]) {
  for (const zone of [DETAIL, NEAR]) {
    if (lon >= zone.west && lon <= zone.east && lat >= zone.south && lat <= zone.north) return zone;
  }
  return FAR;
}

function distance([x, y], [ax, ay], [bx, by]) {
  const [dx, dy] = [bx - ax, by - ay];
  const length2 = dx * dx + dy * dy;
  const t = length2 === 0 ? 0 : Math.max(0, Math.min(1, ((x - ax) * dx + (y - ay) * dy) / length2));
  return Math.hypot(x - ax - t * dx, y - ay - t * dy);
}

// Douglas and Peucker, with the tolerance of the place where a point lies.
function thin(points) {
  const kept = new Set([0, points.length - 1]);
  const waiting = [[0, points.length - 1]];
  while (waiting.length > 0) {
    const [first, last] = waiting.pop();
    let [worst, most] = [-1, 1];
    for (let i = first + 1; i < last; i += 1) {
      const excess = distance(points[i], points[first], points[last]) / zoneOf(points[i]).toleranceDeg;
      if (excess > most) [worst, most] = [i, excess];
    }
    if (worst > 0) {
      kept.add(worst);
      waiting.push([first, worst], [worst, last]);
    }
  }
  return points.filter((_, i) => kept.has(i));
}

function isLargeEnough(ring) {
  const [lons, lats] = [ring.map((point) => point[0]), ring.map((point) => point[1])];
  const size = Math.max(Math.max(...lons) - Math.min(...lons), Math.max(...lats) - Math.min(...lats));
  return size >= zoneOf(ring[0]).leastDeg && Math.max(...lats) > SOUTH_DEG;
}

function packed(ring) {
  let [x, y] = [0, 0];
  return ring.flatMap(([lon, lat]) => {
    const [nextX, nextY] = [Math.round(lon / UNIT_DEG), Math.round(lat / UNIT_DEG)];
    const step = [nextX - x, nextY - y];
    [x, y] = [nextX, nextY];
    return step;
  });
}

const polygons = land
  .map((rings) => rings.map(unwound))
  .filter(([outer]) => isLargeEnough(outer))
  .map(([outer, ...holes]) => [outer, ...holes.filter(isLargeEnough)].map(thin).filter((ring) => ring.length > 3).map(packed))
  .filter((rings) => rings.length > 0);
const source = "Made with Natural Earth (public domain), 1:10m land, by way of world-atlas 2.0.2; see land.mjs";
process.stdout.write(`${JSON.stringify({ source, unitDeg: UNIT_DEG, polygons })}\n`);
