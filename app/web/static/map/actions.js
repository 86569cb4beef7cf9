// What the page does: one state, changed only by `set`, and the questions that change it.

import { Away, ask, follow } from "./api.js";
import { CANCEL, CLUSTERS, HOLD, HOLDS, LIVE, LIVE_CLUSTERS, STATION, STATIONS } from "./documents.js";
import { judge } from "./judge.js";
import { speaker } from "./words.js";
import { understand } from "./understand.js";

export const MOST_STATIONS = 100; // more are shown as clusters
export const REFRESH_S = 15;
const MOST_FOLLOWED = 2_000; // the hub lets nobody follow more at once
const RECOUNT_MS = 3_000; // clusters are counted anew no more often
export const POWERS_KW = [7, 30, 60, 120, 180, 250, 480];
const HOLD_S = 600;
const WORLD = { west: -180, south: -85, east: 180, north: 85 };
const WORLD_ZOOM = 6;
const CITY_ZOOM = 11;
const RETRY_S = [1, 2, 4, 8, 15];
const SETTLED_MS = 250; // a map that still moves asks nothing
const ANNOUNCED_MS = 5_000; // changes are told no more often
const REMEMBERED_KEY = "chargegraph-key"; // shared with the IDE
const REMEMBERED_LANGUAGE = "chargegraph-language";

export class Actions {
  constructor({ table, places, language, key, changed }) {
    this.table = table;
    this.places = places;
    this.changed = changed;
    this.atlas = null;
    this.refreshing = null; // the AbortController of the question about the view
    this.listening = null; // the AbortController of the subscription, and what it is about
    this.failures = 0;
    this.saidAt = -Infinity;
    this.state = {
      language,
      say: speaker(table, language),
      key,
      keyRefused: false,
      view: null,
      filter: {},
      typed: "",
      mode: "clusters",
      clusters: [],
      stations: new Map(),
      total: null,
      selectedId: null,
      station: null, // the whole of the selected one, with `at` when it was answered
      stationGone: false,
      holds: [],
      wishes: {}, // by Evse: the idempotency key of what is under way or unsure, and what went wrong
      problem: null, // {code, message, retryAt}
      live: "off",
      exchanges: {},
      which: "map",
      form: "graphql",
      paneOpen: window.matchMedia("(min-width: 1200px)").matches,
      said: "",
      now: performance.now(),
    };
  }

  set(changes) {
    this.state = { ...this.state, ...changes };
    this.changed(this.state);
  }

  // For screen readers; what stations do waits until this has been heard.
  tell(said) {
    this.saidAt = performance.now();
    this.set({ said });
  }

  // ------------------------------------------------------------------------------------------------- language, key

  speak(language) {
    localStorage.setItem(REMEMBERED_LANGUAGE, language);
    this.set({ language, say: speaker(this.table, language), said: "" });
  }

  static remembered() {
    const fragment = new URLSearchParams(location.hash.slice(1));
    const key = fragment.get("key") || sessionStorage.getItem(REMEMBERED_KEY) || "";
    if (fragment.has("key")) {
      sessionStorage.setItem(REMEMBERED_KEY, key);
      history.replaceState(null, "", location.pathname); // nobody shares it with the address
    }
    return { key, language: localStorage.getItem(REMEMBERED_LANGUAGE) };
  }

  useKey(key) {
    this.stop();
    sessionStorage.setItem(REMEMBERED_KEY, key);
    this.set({ key, keyRefused: false, holds: [], selectedId: null, station: null, problem: null });
    if (key) this.begin();
  }

  begin() {
    this.refresh();
    this.loadHolds();
  }

  // ------------------------------------------------------------------------------------------------- asking

  // Asks, keeps what was asked for the pane, and tells what went wrong; returns the data, or null.
  async ask(which, query, variables, signal) {
    try {
      const { data, ms, bytes } = await ask(this.state.key, query, variables, signal);
      const exchanges = which ? { ...this.state.exchanges, [which]: { query, variables, ms, bytes } } : this.state.exchanges;
      const { problem, say } = this.state;
      const wasAway = problem?.code === "away";
      const isOver = wasAway || problem?.about === which;
      this.failures = 0;
      this.set({ exchanges, problem: isOver ? null : problem });
      if (wasAway) this.tell(say("problem.back"));
      return data;
    } catch (error) {
      if (signal?.aborted) return null;
      this.fail(error, which);
      throw error;
    }
  }

  fail(error, about) {
    if (error.code === "UNAUTHENTICATED") {
      this.stop();
      this.set({ keyRefused: true, problem: null, live: "off" });
      return;
    }
    const comesBack = error instanceof Away || error.code === "UNAVAILABLE" || error.retryAfterS != null;
    const waitS = Math.max(error.retryAfterS ?? 0, RETRY_S[Math.min(this.failures, RETRY_S.length - 1)]);
    this.failures += 1;
    const code = error instanceof Away ? "away" : error.code;
    const retryAt = comesBack ? performance.now() + waitS * 1_000 : null;
    this.set({ problem: { about, code, message: error.message, retryAt }, live: error instanceof Away ? "away" : this.state.live });
  }

  stop() {
    this.refreshing?.abort();
    this.deafen();
    this.refreshing = null;
  }

  retry() {
    this.set({ problem: { ...this.state.problem, retryAt: null, trying: true } });
    this.begin();
    if (this.state.selectedId) this.loadStation();
  }

  // ------------------------------------------------------------------------------------------------- the view

  moved(view) {
    this.set({ view });
    clearTimeout(this.settling);
    this.settling = setTimeout(() => this.refresh(), SETTLED_MS);
  }

  wanted() {
    const filter = Object.fromEntries(Object.entries(this.state.filter).filter(([, value]) => value));
    return Object.keys(filter).length > 0 ? filter : null;
  }

  async refresh({ quiet = false } = {}) {
    if (!this.state.key || !this.state.view) return;
    this.refreshing?.abort();
    const { signal } = (this.refreshing = new AbortController());
    const { box, zoom } = this.state.view;
    const filter = this.wanted();
    let { mode } = this.state;
    try {
      // What fits is shown as stations. Both questions in a row are only needed where that changes.
      for (let round = 0; round < 3; round += 1) {
        const data = await (mode === "stations"
          ? this.ask("map", STATIONS, { box, filter }, signal)
          : this.ask("map", CLUSTERS, { box, zoom, filter }, signal));
        if (signal.aborted) return;
        const total = mode === "stations" ? data.stationsInArea.totalCount : sum(data.stationClusters);
        const fitting = total <= MOST_STATIONS && total > 0 ? "stations" : total > MOST_STATIONS ? "clusters" : mode;
        if (fitting === mode || round === 2) {
          this.showAnswer(mode, data, total);
          if (!quiet || !this.listening) this.listen(mode, box, filter, total);
          return;
        }
        mode = fitting;
      }
    } catch {
      // `ask` has told it
    }
  }

  showAnswer(mode, data, total) {
    const clusters = mode === "clusters" ? data.stationClusters : [];
    const nodes = mode === "stations" ? data.stationsInArea.edges.map(({ node }) => node) : [];
    this.set({ mode, clusters, stations: new Map(nodes.map((node) => [node.id, node])), total });
  }

  // ------------------------------------------------------------------------------------------------- live

  deafen() {
    this.listening?.abort();
    this.listening = null;
    clearTimeout(this.recounting); // its answer could be older than what the next subscription tells
    this.recounting = null;
  }

  async listen(mode, box, filter, total) {
    this.deafen();
    if (mode === "clusters" && total > MOST_FOLLOWED) {
      this.set({ live: "off" });
      return;
    }
    const controller = (this.listening = new AbortController());
    const { signal } = controller;
    const [query, apply] = mode === "stations" ? [LIVE, this.apply] : [LIVE_CLUSTERS, this.recount];
    const variables = { box, filter };
    this.set({ live: "connecting" });
    try {
      for await (const data of follow(this.state.key, query, variables, signal)) {
        if (signal.aborted) return;
        const exchanges = { ...this.state.exchanges, live: { query, variables, streams: true } };
        this.set({ exchanges });
        apply.call(this, data.availabilityChanged);
      }
      if (!signal.aborted) throw new Away("the hub ended the stream");
    } catch (error) {
      if (signal.aborted) return;
      this.listening = null;
      if (error instanceof Away || error.code === "UNAUTHENTICATED") this.fail(error, "live");
      else this.set({ live: "off" }); // this hub or this key has no such subscription: ask now and then
    }
  }

  // What is told anew replaces what there was, once all of it has come.
  apply({ changes, resynced, more }) {
    if (resynced) this.anew = new Map();
    const stations = this.anew ?? new Map(this.state.stations);
    for (const { kind, stationId, station } of changes) {
      if (kind === "LEFT" || !station) stations.delete(stationId);
      else stations.set(stationId, station);
    }
    if (this.anew && more) return;
    this.anew = null;
    this.set({ stations, total: stations.size, live: "on" });
    const { selectedId, say } = this.state;
    const mine = changes.find(({ stationId }) => stationId === selectedId);
    if (mine) this.loadStation();
    if (mine?.station && performance.now() - this.saidAt > ANNOUNCED_MS) {
      const { words } = judge(say, mine.station.availability);
      this.tell(say("live.changed", { name: mine.station.name ?? say("results.unnamed"), text: words }));
    }
    if (stations.size > MOST_STATIONS) this.refresh();
  }

  // Of clusters only the hub knows what they count; what was told first is what was counted just before.
  recount({ resynced, more }) {
    if (this.state.live !== "on") this.set({ live: "on" });
    const isBeginning = resynced || this.beginning;
    this.beginning = isBeginning && more;
    if (isBeginning || this.recounting) return;
    this.recounting = setTimeout(() => {
      this.recounting = null;
      this.refresh({ quiet: true });
    }, RECOUNT_MS);
  }

  // Called each second.
  tick() {
    const { holds, problem, live, station } = this.state;
    const now = performance.now();
    if (problem?.retryAt && now >= problem.retryAt) this.retry();
    this.seconds = (this.seconds ?? 0) + 1;
    if (this.seconds % REFRESH_S === 0 && !document.hidden && !problem && !this.state.keyRefused) {
      if (live !== "on") this.refresh({ quiet: true });
      if (this.state.selectedId) this.loadStation();
    }
    for (const hold of holds) {
      const leftS = (hold.endsAt - now) / 1_000;
      if (leftS <= 0) this.ended(hold);
      else if (leftS <= 60 && !hold.warned) {
        hold.warned = true;
        this.tell(this.state.say("hold.soon", { name: hold.name }));
      }
    }
    if (holds.length > 0 || problem || station) this.set({ now });
  }

  // ------------------------------------------------------------------------------------------------- search

  async search(typed) {
    const { place, filter, text } = understand(typed, this.places);
    const meant = { ...this.state.filter, ...filter, text: text || undefined };
    this.set({ typed, filter: meant, which: "map", selectedId: null, station: null, stationGone: false });
    // Where the map moves, it asks by itself.
    if (place) this.atlas.go({ lon: place[2], lat: place[3] }, CITY_ZOOM);
    else if (!text || !(await this.findAnywhere())) this.refresh();
  }

  // Moves to what matches, wherever it is; tells whether there is any.
  async findAnywhere() {
    try {
      const data = await this.ask(null, CLUSTERS, { box: WORLD, zoom: WORLD_ZOOM, filter: this.wanted() });
      const points = data.stationClusters.map(({ location }) => location).filter(Boolean);
      if (points.length > 0) this.atlas.fit(points);
      else this.tell(this.state.say("search.nothing"));
      return points.length > 0;
    } catch {
      return false; // `ask` has told it
    }
  }

  narrow(changes) {
    this.set({ filter: { ...this.state.filter, ...changes }, which: "map" });
    this.refresh();
  }

  resetFilter() {
    this.set({ filter: {}, typed: "" });
    this.refresh();
  }

  // ------------------------------------------------------------------------------------------------- one station

  select(id) {
    this.set({ selectedId: id, station: null, stationGone: false, which: "station", wishes: {} });
    const location = this.state.stations.get(id)?.location;
    if (location) this.atlas.reveal(location);
    this.loadStation().then(() => document.getElementById("station-title")?.focus());
  }

  leaveStation() {
    const { selectedId } = this.state;
    if (!selectedId) return;
    this.set({ selectedId: null, station: null, stationGone: false, which: "map" });
    const item = document.querySelector(`[data-item="${CSS.escape(selectedId)}"]`);
    (item ?? document.getElementById("side")).focus();
  }

  async loadStation() {
    const id = this.state.selectedId;
    if (this.loading === id) {
      this.again = true; // news came while its answer was on the way
      return;
    }
    this.loading = id;
    try {
      do {
        this.again = false;
        const data = await this.ask("station", STATION, { id });
        if (this.state.selectedId !== id) return;
        this.set({ station: data.station && { ...data.station, at: performance.now() }, stationGone: data.station === null });
      } while (this.again);
    } catch {
      // `ask` has told it
    } finally {
      if (this.loading === id) this.loading = null;
    }
  }

  // ------------------------------------------------------------------------------------------------- holds

  async loadHolds() {
    try {
      const data = await this.ask(null, HOLDS, {});
      this.set({ holds: data.reservations.edges.map(({ node }) => heldFrom(node)), now: performance.now() });
    } catch (error) {
      if (error.code === "FORBIDDEN") this.set({ problem: null }); // a key that only looks
    }
  }

  wish(evseId, wish) {
    this.set({ wishes: { ...this.state.wishes, [evseId]: wish } });
  }

  async hold(evseId, name) {
    // Whether an earlier try worked may not be known: the same key makes that the same wish.
    const idempotencyKey = this.state.wishes[evseId]?.idempotencyKey ?? randomKey();
    this.wish(evseId, { busy: "hold", idempotencyKey });
    const payload = await this.change("reserveEvse", HOLD, { evseId, holdS: HOLD_S, idempotencyKey }, evseId, idempotencyKey);
    if (!payload) return;
    const held = heldFrom(payload.reservation);
    this.set({ now: performance.now(), holds: [held, ...this.state.holds.filter(({ id }) => id !== held.id)] });
    this.tell(this.state.say("hold.made", { name }));
    await this.afterChange(evseId);
  }

  async cancel(hold) {
    const { evseId, id, name } = hold;
    const idempotencyKey = this.state.wishes[evseId]?.idempotencyKey ?? randomKey();
    this.wish(evseId, { busy: "cancel", idempotencyKey });
    const input = { reservationId: id, idempotencyKey };
    const payload = await this.change("cancelReservation", CANCEL, input, evseId, idempotencyKey);
    if (!payload) return;
    this.set({ holds: this.state.holds.filter((other) => other.id !== id) });
    this.tell(this.state.say("hold.cancelled", { name }));
    await this.afterChange(evseId);
  }

  // Sends a mutation; returns its payload, or null where it was refused or nobody knows.
  async change(field, document, input, evseId, idempotencyKey) {
    try {
      const data = await this.ask("hold", document, { input });
      this.set({ which: "hold" });
      const { userErrors } = data[field];
      if (userErrors.length === 0) {
        this.wish(evseId, undefined);
        return data[field];
      }
      const [{ code, message }] = userErrors;
      const problem = { name: `refusal.${code}`, message };
      this.wish(evseId, code === "UNAVAILABLE" ? { problem, idempotencyKey } : { problem });
      this.loadStation();
    } catch (error) {
      const unsure = error instanceof Away || error.code === "UNAVAILABLE";
      this.wish(evseId, unsure ? { problem: { name: "hold.unsure" }, idempotencyKey } : { problem: { name: `problem.${error.code}`, message: error.message } });
    }
    return null;
  }

  async afterChange(evseId) {
    if (this.state.selectedId) await this.loadStation();
    if (document.activeElement === document.body) {
      // The button that was pressed is gone; the other one stands where it was.
      (document.querySelector(`[data-hold="${CSS.escape(evseId)}"]`) ?? document.getElementById("side")).focus();
    }
    if (this.state.live !== "on") this.refresh({ quiet: true });
  }

  ended(hold) {
    this.set({ holds: this.state.holds.filter(({ id }) => id !== hold.id) });
    this.tell(this.state.say("hold.ended", { name: hold.name }));
    if (this.state.selectedId) this.loadStation();
  }
}


export function evseName({ physicalReference, name, localId }) {
  return physicalReference || name || localId;
}

function heldFrom(reservation) {
  const leftMs = Date.parse(reservation.expiresAt) - Date.parse(reservation.serverTime);
  return {
    id: reservation.id,
    evseId: reservation.evseId,
    guarantee: reservation.guarantee,
    stationId: reservation.station?.id ?? null,
    stationName: reservation.station?.name ?? null,
    name: reservation.evse ? evseName(reservation.evse) : reservation.evseId,
    endsAt: performance.now() + leftMs,
  };
}

function sum(clusters) {
  return clusters.reduce((all, { count }) => all + count, 0);
}

// `crypto.randomUUID` is only there where the page came over TLS or from this machine.
function randomKey() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}
