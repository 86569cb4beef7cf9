// The map: Leaflet over the outline of the land. It shows what it is given and tells where it was moved; the marks are
// for pointers, and the results list has the same for keyboards and screen readers.
/* global L */
import { judge, judgeCluster } from "./judge.js";

const NATION = [[18, 73.5], [53.6, 135]];
const CLUSTERS_DEEPER = 2; // a tile of the cluster query is 64 pixels wide on the map
const TILE_PIXELS = 256;
const MOST_TILES = 4096; // of one question
const DEEPEST = 17;
const APART_FROM = 15; // from here on, what still lies on one spot is only told apart by the list
const GRID_FROM = 9;
const CALM = window.matchMedia("(prefers-reduced-motion: reduce)").matches;
const SVG = "http://www.w3.org/2000/svg";

export class Atlas {
  // `moved` is told the view after each move; `picked` a station's id.
  constructor(element, { land, places, moved, picked }) {
    this.places = places;
    this.picked = picked;
    this.marks = new Map();
    this.labels = L.layerGroup();
    this.map = L.map(element, {
      zoomControl: false,
      attributionControl: false,
      minZoom: 3,
      maxZoom: DEEPEST,
      zoomSnap: 0.25,
      maxBounds: [[-75, -200], [85, 200]],
      maxBoundsViscosity: 0.8,
      zoomAnimation: !CALM,
      fadeAnimation: !CALM,
      markerZoomAnimation: !CALM,
      inertia: !CALM,
    });
    this.showNation({ animate: false });
    for (const [name, zIndex] of [["grid", 410], ["labels", 420]]) {
      const pane = this.map.createPane(name);
      pane.style.zIndex = zIndex;
      pane.style.pointerEvents = "none";
    }
    L.polygon(outlines(land), {
      renderer: L.canvas({ padding: 0.4 }),
      interactive: false,
      smoothFactor: 0.7,
      color: "#a9bac4",
      weight: 1,
      fillColor: "#f8f7f3",
      fillOpacity: 1,
    }).addTo(this.map);
    new Grid({ pane: "grid", minZoom: GRID_FROM, updateWhenZooming: false }).addTo(this.map);
    this.labels.addTo(this.map);
    this.scale = L.control.scale({ imperial: false, position: "bottomright" }).addTo(this.map);
    this.map.on("moveend", () => {
      this.label();
      moved(this.view());
    });
  }

  view() {
    const bounds = this.map.getBounds();
    const within = (value, most) => Math.max(-most, Math.min(most, Number(value.toFixed(5))));
    const box = {
      west: within(bounds.getWest(), 180),
      south: within(bounds.getSouth(), 90),
      east: within(bounds.getEast(), 180),
      north: within(bounds.getNorth(), 90),
    };
    const { lng, lat } = this.map.getCenter();
    return { box, zoom: this.clusterZoom(), center: { lon: lng, lat } };
  }

  clusterZoom() {
    const { x, y } = this.map.getSize();
    let zoom = Math.round(this.map.getZoom()) + CLUSTERS_DEEPER;
    const tiles = () => {
      const width = TILE_PIXELS * 2 ** (this.map.getZoom() - zoom);
      return (x / width + 1) * (y / width + 1);
    };
    while (tiles() > MOST_TILES) zoom -= 1;
    return zoom;
  }

  showNation(options = {}) {
    this.map.fitBounds(NATION, { animate: !CALM, ...options });
  }

  go({ lon, lat }, zoom) {
    this.map.setView([lat, lon], Math.min(zoom, DEEPEST), { animate: !CALM });
  }

  closer({ lon, lat }) {
    this.go({ lon, lat }, this.map.getZoom() + 2);
  }

  zoomBy(steps) {
    this.map.setZoom(this.map.getZoom() + steps, { animate: !CALM });
  }

  fit(points) {
    const bounds = L.latLngBounds(points.map(({ lon, lat }) => [lat, lon]));
    this.map.fitBounds(bounds.pad(0.15), { maxZoom: 14, animate: !CALM });
  }

  // Brings a station into sight without moving the map more than is needed.
  reveal({ lon, lat }) {
    if (!this.map.getBounds().pad(-0.1).contains([lat, lon])) this.map.panTo([lat, lon], { animate: !CALM });
  }

  resized() {
    this.map.invalidateSize({ animate: false });
  }

  // Draws one kind or the other; what stays the same is left alone.
  show({ clusters, stations, selectedId, say, language }) {
    const wanted = new Map();
    for (const cluster of clusters) {
      if (cluster.location) wanted.set(clusterKey(cluster), clusterMark(say, cluster));
    }
    const marks = [...stations]
      .filter(({ location }) => location)
      .map((station) => stationMark(say, station, station.id === selectedId));
    for (const mark of this.spread(marks)) wanted.set(mark.stationId, mark);
    for (const [key, { marker }] of this.marks) {
      if (!wanted.has(key)) {
        marker.remove();
        this.marks.delete(key);
      }
    }
    for (const [key, mark] of wanted) this.draw(key, mark);
    const layout = `${language} ${[...wanted.keys()].join()}`;
    if (layout !== this.layout) {
      this.layout = layout;
      this.language = language;
      this.label();
    }
  }

  // Where marks would cover each other, the most important one stands for the others and says how many they are.
  spread(marks) {
    const standing = [];
    for (const mark of marks.sort((one, other) => other.rank - one.rank)) {
      const { x, y } = this.map.latLngToContainerPoint([mark.place.lat, mark.place.lon]);
      const box = { x, y, halfWidth: mark.size[0] / 2, halfHeight: mark.size[1] / 2 };
      const over = standing.find((other) => !isApart(box, other.box));
      if (over) over.more += 1;
      else standing.push({ mark, box, more: 0 });
    }
    return standing.map(({ mark, more }) => (more > 0 ? withMore(mark, more) : mark));
  }

  draw(key, mark) {
    const { signature, place, rank, size, build } = mark;
    const drawn = this.marks.get(key);
    if (drawn?.signature === signature) return;
    const changed = drawn !== undefined && drawn.signature.split("|")[0] !== signature.split("|")[0];
    const icon = L.divIcon({ className: "", iconSize: null, html: build(changed && !CALM) });
    if (drawn) {
      drawn.marker.setIcon(icon).setLatLng([place.lat, place.lon]).setZIndexOffset(rank);
      Object.assign(drawn, { signature, size, mark });
    } else {
      const marker = L.marker([place.lat, place.lon], { icon, keyboard: false, zIndexOffset: rank }).addTo(this.map);
      marker.on("click", () => this.open(this.marks.get(key).mark));
      this.marks.set(key, { marker, signature, size, mark });
    }
    this.marks.get(key).marker.getElement().setAttribute("aria-hidden", "true");
  }

  // A station; or a closer look, where there are several.
  open({ stationId, more, place }) {
    if (stationId && (!more || this.map.getZoom() >= APART_FROM)) this.picked(stationId);
    else this.closer(place);
  }

  // Names of cities, the more important first, where they run neither into each other nor into marks.
  label() {
    this.labels.clearLayers();
    const boxes = [...this.marks.values()].map(({ marker, size: [width, height] }) => {
      const { x, y } = this.map.latLngToContainerPoint(marker.getLatLng());
      return { x, y, halfWidth: width / 2, halfHeight: height / 2 };
    });
    let labels = 0;
    const view = this.map.getBounds().pad(0.1);
    const most = 20 + 8 * Math.max(0, this.map.getZoom() - 4);
    for (const [zh, en, lon, lat] of this.places) {
      if (labels >= most) break;
      if (!view.contains([lat, lon])) continue;
      const name = this.language === "zh" ? zh : en;
      const point = this.map.latLngToContainerPoint([lat, lon]);
      const halfWidth = (this.language === "zh" ? 6.5 : 3.6) * name.length + 2;
      const below = [0, 12, 22, 30].find((offset) => {
        const box = { x: point.x, y: point.y + offset, halfWidth, halfHeight: 8 };
        return boxes.every((other) => isApart(box, other));
      });
      if (below === undefined) continue;
      boxes.push({ x: point.x, y: point.y + below, halfWidth: halfWidth + 8, halfHeight: 12 });
      labels += 1;
      const text = document.createElement("span");
      text.className = "city";
      text.textContent = name;
      text.style.top = `${below}px`;
      const icon = L.divIcon({ className: "", iconSize: null, html: text });
      this.labels.addLayer(L.marker([lat, lon], { icon, pane: "labels", interactive: false, keyboard: false }));
    }
    this.labels.eachLayer((marker) => marker.getElement().setAttribute("aria-hidden", "true"));
  }
}

function isApart(one, other) {
  return (
    Math.abs(one.x - other.x) >= one.halfWidth + other.halfWidth || Math.abs(one.y - other.y) >= one.halfHeight + other.halfHeight
  );
}

export function clusterKey({ tile }) {
  return `${tile.z}/${tile.x}/${tile.y}`;
}

// Whether a place lies in a tile.
export function isInTile({ x, y, z }, [, , lon, lat]) {
  const tiles = 2 ** z;
  const sine = Math.sin((lat * Math.PI) / 180);
  const row = (0.5 - Math.log((1 + sine) / (1 - sine)) / (4 * Math.PI)) * tiles;
  return Math.floor(((lon + 180) / 360) * tiles) === x && Math.floor(row) === y;
}

// Lines that move with the map, where the land alone would not show that it moves.
const Grid = L.GridLayer.extend({
  createTile() {
    const tile = document.createElement("div");
    tile.className = "grid";
    return tile;
  },
});

function outlines({ unitDeg, polygons }) {
  return polygons.map((rings) =>
    rings.map((steps) => {
      const ring = [];
      let [x, y] = [0, 0];
      for (let i = 0; i < steps.length; i += 2) {
        x += steps[i];
        y += steps[i + 1];
        ring.push([y * unitDeg, x * unitDeg]);
      }
      return ring;
    }),
  );
}

function stationMark(say, station, selected) {
  const { kind, stale, short } = judge(say, station.availability);
  return {
    signature: `${kind} ${stale} ${short}|${selected} ${station.location.lon} ${station.location.lat}`,
    place: station.location,
    rank: selected ? 10_000 : kind === "free" ? 200 : 0,
    size: [12 + 7 * short.length, 24],
    stationId: station.id,
    build: (changed) => {
      const mark = document.createElement("span");
      mark.className = `mark mark-${kind}`;
      mark.classList.toggle("mark-stale", stale);
      mark.classList.toggle("mark-selected", selected);
      mark.classList.toggle("mark-changed", changed);
      mark.textContent = short;
      mark.dataset.station = station.id;
      return mark;
    },
  };
}

function withMore(mark, more) {
  return {
    ...mark,
    more,
    signature: `${mark.signature} ${more}`,
    build: (changed) => {
      const element = mark.build(changed);
      const badge = document.createElement("span");
      badge.className = "mark-more";
      badge.textContent = `+${more}`;
      element.append(badge);
      return element;
    },
  };
}

function clusterMark(say, cluster) {
  const { kind, share } = judgeCluster(say, cluster);
  const { lon, lat } = cluster.location;
  const radius = Math.round(11 + 3.4 * Math.log10(cluster.count) ** 1.25);
  return {
    signature: `${cluster.count} ${cluster.available}|${lon} ${lat}`,
    place: cluster.location,
    rank: Math.round(100 * Math.log2(cluster.count + 1)),
    size: [2 * radius + 6, 2 * radius + 6],
    stationId: cluster.stationId,
    build: () => ring(cluster.count, radius, kind, share),
  };
}

// A disc with the number of stations; round it an arc as long as the share that has a free plug.
function ring(count, radius, kind, share) {
  const size = 2 * radius + 8;
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("class", `ring ring-${kind}`);
  svg.setAttribute("width", size);
  svg.setAttribute("height", size);
  svg.setAttribute("viewBox", `${-size / 2} ${-size / 2} ${size} ${size}`);
  const add = (name, attributes) => {
    const node = document.createElementNS(SVG, name);
    for (const [attribute, value] of Object.entries(attributes)) node.setAttribute(attribute, value);
    return svg.appendChild(node);
  };
  add("circle", { class: "ring-disc", r: radius });
  add("circle", { class: "ring-track", r: radius });
  if (share > 0) {
    const around = 2 * Math.PI * radius;
    add("circle", { class: "ring-arc", r: radius, "stroke-dasharray": `${around * share} ${around}`, transform: "rotate(-90)" });
  }
  add("text", { class: "ring-count", "text-anchor": "middle", dy: "0.35em" }).textContent = brief(count);
  return svg;
}

function brief(count) {
  if (count < 1_000) return String(count);
  const thousands = count / 1_000;
  return `${thousands < 10 ? thousands.toFixed(1) : Math.round(thousands)}k`;
}
