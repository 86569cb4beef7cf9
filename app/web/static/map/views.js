// How a state looks, apart from the map itself. Whatever comes from operators is text: nothing here makes HTML of it.

import { POWERS_KW, REFRESH_S, evseName } from "./actions.js";
import { clusterKey, isInTile } from "./atlas.js";
import { judge, judgeCluster } from "./judge.js";
import { html, useEffect, useRef, useState } from "./preact.js";
import { asCurl, asJson, hidden, ideLink, pieces } from "./query.js";
import { LANGUAGES, age, clock, tagOf } from "./words.js";

const PLUGS = ["GBT_DC", "GBT_AC", "CHAOJI", "TYPE2_COMBO", "TYPE2", "TYPE1_COMBO", "TYPE1", "CHADEMO", "NACS", "MCS", "BATTERY_SWAP"];
const MOST_PLACES = 40;
const MOST_EVSES = 24;
const NEAR_DEG = 0.6;
const FORMS = ["graphql", "json", "curl"];

// A text as an operator wrote it, in the language that its script tells.
function Told({ text }) {
  return html`<span lang=${/\p{Script=Han}/u.test(text) ? "zh" : undefined}>${text}</span>`;
}

function Icon({ name }) {
  const paths = {
    search: "M10.5 4a6.5 6.5 0 1 0 4.1 11.5l4.4 4.5 1.5-1.5-4.5-4.4A6.5 6.5 0 0 0 10.5 4Zm0 2a4.5 4.5 0 1 1 0 9 4.5 4.5 0 0 1 0-9Z",
    close: "m6.4 5 5.6 5.6L17.6 5 19 6.4 13.4 12l5.6 5.6-1.4 1.4-5.6-5.6L6.4 19 5 17.6l5.6-5.6L5 6.4Z",
    back: "m11 5 1.4 1.4L7.8 11H20v2H7.8l4.6 4.6L11 19l-7-7Z",
    plus: "M11 5h2v6h6v2h-6v6h-2v-6H5v-2h6Z",
    minus: "M5 11h14v2H5Z",
    home: "M12 4 3 11.5h2.5V20h5v-5h3v5h5v-8.5H21Z",
    bolt: "M13 2 5 13.5h5L9 22l9-12.5h-5.5Z",
  };
  return html`<svg class="icon" viewBox="0 0 24 24" width="20" height="20" aria-hidden="true"><path d=${paths[name]} /></svg>`;
}

// ----------------------------------------------------------------------------------------------------------- header

export function Header({ state, actions }) {
  const { say, language } = state;
  const other = LANGUAGES.find((each) => each !== language);
  return html`
    <a class="skip" href="#side">${say("skip")}</a>
    <div class="brand"><${Icon} name="bolt" /><strong>Chargegraph</strong><span class="tagline">${say("tagline")}</span></div>
    <div class="header-tools">
      ${state.key && html`<button type="button" class="quiet" onClick=${() => actions.useKey("")}>${say("key.change")}</button>`}
      <button type="button" class="quiet" id="language" lang=${tagOf(other)} aria-label=${say("languageLabel")}
        onClick=${() => actions.speak(other)}>${say("language")}</button>
      <button type="button" class="quiet" id="toggle-pane" aria-expanded=${String(state.paneOpen)} aria-controls="pane"
        onClick=${() => actions.set({ paneOpen: !state.paneOpen })}>${say(state.paneOpen ? "query.hide" : "query.show")}</button>
    </div>`;
}

// ----------------------------------------------------------------------------------------------------------- side

export function Side({ state, actions }) {
  if (!state.key || state.keyRefused) return html`<${KeyForm} state=${state} actions=${actions} />`;
  return html`
    <${Search} state=${state} actions=${actions} />
    <${Problem} state=${state} actions=${actions} />
    <${Holds} state=${state} actions=${actions} />
    ${state.selectedId
      ? html`<${Station} key=${state.selectedId} state=${state} actions=${actions} />`
      : html`<${Results} state=${state} actions=${actions} />`}`;
}

function KeyForm({ state, actions }) {
  const { say, keyRefused } = state;
  const field = useRef(null);
  useEffect(() => keyRefused && field.current.focus(), [keyRefused]);
  const submit = (event) => {
    event.preventDefault();
    const key = field.current.value.trim();
    if (key) actions.useKey(key);
  };
  return html`
    <form class="key-form" onSubmit=${submit}>
      <h2>${say("key.title")}</h2>
      <p>${say("key.why").split("`").map((part, i) => (i % 2 ? html`<code>${part}</code>` : part))}</p>
      <label for="key">${say("key.label")}</label>
      <input id="key" ref=${field} type="password" autocomplete="off" spellcheck=${false} placeholder="cg_…"
        aria-invalid=${keyRefused ? "true" : undefined} aria-describedby="key-note key-problem" />
      <p id="key-problem" class="refusal" role="alert">${keyRefused ? say("key.wrong") : ""}</p>
      <button class="primary">${say("key.use")}</button>
      <p id="key-note" class="note">${say("key.kept")}</p>
    </form>`;
}

function Search({ state, actions }) {
  const { say, filter, typed } = state;
  const [text, setText] = useState(typed);
  useEffect(() => setText(typed), [typed]);
  const submit = (event) => {
    event.preventDefault();
    actions.search(text);
  };
  const [plug] = filter.connectorTypes ?? [""];
  const powers = [...new Set([...POWERS_KW, filter.minPowerKw ?? 0])].filter(Boolean).sort((one, two) => one - two);
  return html`
    <search class="search" aria-label=${say("search.region")}>
      <form class="search-box" role="search" aria-label=${say("search.region")} onSubmit=${submit}>
        <label class="unseen" for="typed">${say("search.label")}</label>
        <input id="typed" type="search" list="places" autocomplete="off" maxlength="100" placeholder=${say("search.placeholder")}
          value=${text} onInput=${(event) => setText(event.target.value)} />
        <datalist id="places">
          ${actions.places.map(([zh, en]) => html`<option key=${en} value=${state.language === "zh" ? zh : en} />`)}
        </datalist>
        <button aria-label=${say("search.go")}><${Icon} name="search" /></button>
      </form>
      <div class="filters">
        <label class="choice"><span>${say("search.plug")}</span>
          <select id="plug" value=${plug} onChange=${(event) => actions.narrow({ connectorTypes: event.target.value ? [event.target.value] : undefined })}>
            <option value="">${say("search.any")}</option>
            ${PLUGS.map((each) => html`<option key=${each} value=${each}>${say(`plug.${each}`)}</option>`)}
          </select></label>
        <label class="choice"><span>${say("search.power")}</span>
          <select id="power" value=${String(filter.minPowerKw ?? "")} onChange=${(event) => actions.narrow({ minPowerKw: Number(event.target.value) || undefined })}>
            <option value="">${say("search.any")}</option>
            ${powers.map((kw) => html`<option key=${kw} value=${String(kw)}>${say("search.atLeast", { kw })}</option>`)}
          </select></label>
        <label class="tick"><input id="free" type="checkbox" checked=${Boolean(filter.availableNow)}
          onChange=${(event) => actions.narrow({ availableNow: event.target.checked })} /><span>${say("search.free")}</span></label>
        <label class="tick"><input id="open" type="checkbox" checked=${Boolean(filter.openNow)}
          onChange=${(event) => actions.narrow({ openNow: event.target.checked })} /><span>${say("search.open")}</span></label>
        ${filter.text && html`<button type="button" class="chip" aria-label=${say("search.removeText", { text: filter.text })}
          onClick=${() => actions.narrow({ text: undefined })}>${say("search.text", { text: filter.text })}<${Icon} name="close" /></button>`}
        ${actions.wanted() && html`<button type="button" class="quiet" onClick=${() => actions.resetFilter()}>${say("search.reset")}</button>`}
      </div>
    </search>`;
}

function Problem({ state, actions }) {
  const { say, problem, now } = state;
  if (!problem) return html`<div role="alert"></div>`;
  const known = ["FORBIDDEN", "UNAVAILABLE", "BAD_USER_INPUT", "RATE_LIMITED"].includes(problem.code);
  const words = problem.code === "away" ? say("problem.trying") : say(known ? `problem.${problem.code}` : "problem.other");
  const seconds = problem.retryAt ? Math.max(1, Math.ceil((problem.retryAt - now) / 1_000)) : null;
  return html`
    <div class="problem">
      <p role="alert">${words}${problem.code !== "away" && html` <span class="note">${problem.message}</span>`}</p>
      ${seconds !== null && html`<button type="button" id="retry" onClick=${() => actions.retry()}>${say("retry")} <span aria-hidden="true">(${seconds} s)</span></button>`}
    </div>`;
}

function Holds({ state, actions }) {
  const { say, holds, now } = state;
  const elsewhere = holds.filter(({ stationId }) => stationId !== state.selectedId);
  if (elsewhere.length === 0) return null;
  return html`
    <section class="holds" aria-labelledby="holds-title">
      <h2 id="holds-title">${say("hold.title")}</h2>
      <ul>${elsewhere.map((hold) => html`
        <li key=${hold.id}>
          <button type="button" class="link" onClick=${() => actions.select(hold.stationId)} disabled=${!hold.stationId}>
            <${Told} text=${hold.stationName ?? say("results.unnamed")} /></button>
          <span class="note">${hold.name}</span>
          <${Left} say=${say} hold=${hold} now=${now} />
          <${LetGo} state=${state} actions=${actions} hold=${hold} />
        </li>`)}</ul>
    </section>`;
}

function Left({ say, hold, now }) {
  return html`<span class="left" role="timer">${say("hold.left", { time: clock((hold.endsAt - now) / 1_000) })}</span>`;
}

function LetGo({ state, actions, hold }) {
  const { say, wishes } = state;
  const busy = wishes[hold.evseId]?.busy === "cancel";
  return html`<button type="button" data-hold=${hold.evseId} aria-disabled=${busy ? "true" : undefined} aria-label=${busy ? undefined : say("hold.cancelLabel", { name: hold.name })}
    onClick=${() => busy || actions.cancel(hold)}>${say(busy ? "hold.cancelling" : "hold.cancel")}</button>`;
}

function Mark({ kind, stale }) {
  return html`<span class=${`dot dot-${kind} ${stale ? "dot-stale" : ""}`} aria-hidden="true"></span>`;
}

function Results({ state, actions }) {
  const { say, mode, total } = state;
  if (total === null) return html`<p class="loading">${say("loading")}</p>`;
  if (total === 0) {
    return html`<div class="none"><h2>${say("results.none")}</h2><p>${say("results.noneHint")}</p></div>`;
  }
  const shown = mode === "stations" ? [...state.stations.values()] : [];
  const free = mode === "stations" ? shown.filter(({ availability }) => availability.available > 0).length : freeOf(state.clusters);
  return html`
    <div class="summary">
      <h2>${say("results.stations", { count: total })}</h2>
      ${free !== null && html`<p>${say("results.free", { count: free })}</p>`}
    </div>
    ${mode === "stations"
      ? html`<ul class="items">${nearestFirst(shown, state.view.center).map((station) => html`<${StationItem} key=${station.id} state=${state} actions=${actions} station=${station} />`)}</ul>`
      : html`<${Places} state=${state} actions=${actions} />`}`;
}

function StationItem({ state, actions, station }) {
  const { say } = state;
  const { kind, stale, words } = judge(say, station.availability);
  const below = [station.operator?.name, station.address].filter(Boolean).join(" · ");
  return html`
    <li><button type="button" class="item" data-item=${station.id} onClick=${() => actions.select(station.id)}>
      <${Mark} kind=${kind} stale=${stale} />
      <span class="item-name"><${Told} text=${station.name ?? say("results.unnamed")} /></span>
      <span class="item-below"><${Told} text=${below} /></span>
      <span class=${`item-state state-${kind}`}>${words}</span>
    </button></li>`;
}

function Places({ state, actions }) {
  const { say, clusters } = state;
  const largest = [...clusters].sort((one, other) => other.count - one.count);
  return html`
    <ul class="items">${largest.slice(0, MOST_PLACES).map((cluster) => {
      const { kind, words } = judgeCluster(say, cluster);
      const open = () => (cluster.stationId ? actions.select(cluster.stationId) : actions.atlas.closer(cluster.location));
      return html`
        <li key=${clusterKey(cluster)}><button type="button" class="item" data-item=${cluster.stationId ?? clusterKey(cluster)} onClick=${open}>
          <${Mark} kind=${kind} />
          <span class="item-name">${placeName(state, actions.places, cluster)}</span>
          <span class=${`item-state state-${kind}`}>${words}</span>
        </button></li>`;
    })}</ul>
    ${largest.length > MOST_PLACES && html`<p class="note">${say("results.more", { count: largest.length - MOST_PLACES })}</p>`}`;
}

function freeOf(clusters) {
  return clusters.some(({ available }) => available === null) ? null : clusters.reduce((all, { available }) => all + available, 0);
}

function apart(one, other) {
  return Math.hypot((one.lon - other.lon) * Math.cos((one.lat * Math.PI) / 180), one.lat - other.lat);
}

function nearestFirst(stations, center) {
  const far = ({ location }) => (location ? apart(center, location) : Infinity);
  return stations.sort((one, other) => far(one) - far(other));
}

// The most important city in the cluster's tile, or else the nearest.
function placeName({ say, language }, places, { location, tile }) {
  if (!location) return "";
  let [best, least] = [places.find((place) => isInTile(tile, place)), NEAR_DEG];
  for (const place of best ? [] : places) {
    const away = apart(location, { lon: place[2], lat: place[3] });
    if (away < least) [best, least] = [place, away];
  }
  if (best) return say("results.near", { place: language === "zh" ? best[0] : best[1] });
  return say("results.at", { lat: location.lat.toFixed(2), lon: location.lon.toFixed(2) });
}

// ----------------------------------------------------------------------------------------------------------- station

function Station({ state, actions }) {
  const { say, station, stationGone } = state;
  const [all, showAll] = useState(false);
  const order = useRef(null);
  useEffect(() => {
    const leave = (event) => event.key === "Escape" && actions.leaveStation();
    document.addEventListener("keydown", leave);
    return () => document.removeEventListener("keydown", leave);
  }, []);
  const back = html`<button type="button" class="quiet back" onClick=${() => actions.leaveStation()}><${Icon} name="back" />${say("back")}</button>`;
  if (stationGone) return html`<div class="station">${back}<h2 id="station-title" tabindex="-1">${say("station.gone")}</h2></div>`;
  if (!station) return html`<div class="station">${back}<p class="loading">${say("loading")}</p></div>`;
  const { kind, stale, words } = judge(say, station.availability);
  // The free ones first, as they were when the station was opened: rows that jump about cannot be read.
  order.current ??= new Map(freeFirst(station.evses).map(({ id }, i) => [id, i]));
  const place = ({ id }) => order.current.get(id) ?? Infinity;
  const evses = [...station.evses].sort((one, other) => place(one) - place(other));
  return html`
    <article class="station" aria-labelledby="station-title">
      ${back}
      <h2 id="station-title" tabindex="-1"><${Told} text=${station.name ?? say("results.unnamed")} /></h2>
      <p class=${`station-state state-${kind}`}><${Mark} kind=${kind} stale=${stale} />${words}</p>
      <dl class="facts">${facts(say, station).map(([name, value]) => html`<div key=${name}><dt>${name}</dt><dd>${value}</dd></div>`)}</dl>
      <h3>${say("station.chargers")}</h3>
      ${evses.length === 0 && html`<p>${say("station.none")}</p>`}
      <ul class="evses">${evses.slice(0, all ? undefined : MOST_EVSES).map((evse) => html`<${Evse} key=${evse.id} state=${state} actions=${actions} evse=${evse} />`)}</ul>
      ${!all && evses.length > MOST_EVSES && html`<button type="button" onClick=${() => showAll(true)}>${say("station.all", { count: evses.length })}</button>`}
    </article>`;
}

function freeFirst(evses) {
  const isTaken = ({ status, heldByMe }) => Number(status !== "AVAILABLE" && !heldByMe);
  return [...evses].sort((one, other) => isTaken(one) - isTaken(other));
}

function facts(say, station) {
  const { openingHours, openNow, fees, operator, dataRights } = station;
  const now = openNow === null ? null : say(openNow ? "station.openNow" : "station.closedNow");
  const hours = openingHours.raw || (openingHours.alwaysOpen ? say("station.alwaysOpen") : null);
  const stated = (name) => fees?.[name] && html`<span>${say(`station.${name}`)} <${Told} text=${fees[name]} /></span>`;
  const told = (text) => text && html`<${Told} text=${text} />`;
  const phone = operator?.phone || station.phones[0];
  const site = isHttps(operator?.website) && html`<a href=${operator.website} rel="noopener noreferrer" target="_blank">${new URL(operator.website).host}</a>`;
  const source = [dataRights?.attribution, dataRights?.licence].filter(Boolean).join(" · ");
  return [
    [say("station.operator"), told(operator?.name)],
    [say("station.address"), told(station.address)],
    [say("station.hours"), html`<${Told} text=${[now, hours].filter(Boolean).join(" · ") || say("station.hoursUnknown")} />`],
    [say("station.fees"), fees && (fees.electricity || fees.service || fees.parking) && html`<details class="fees"><summary>${say("station.feesShow")}</summary>${["electricity", "service", "parking"].map(stated)}</details>`],
    [say("station.access"), station.access !== "UNKNOWN" && say(`access.${station.access}`)],
    [say("station.presence"), !["IN_SERVICE", "UNKNOWN"].includes(station.presence) && say(`presence.${station.presence}`)],
    [say("station.phone"), phone],
    [say("station.website"), site],
    [say("station.source"), told(source)],
  ].filter(([, value]) => value);
}

function isHttps(address) {
  return typeof address === "string" && URL.canParse(address) && new URL(address).protocol === "https:";
}

function Evse({ state, actions, evse }) {
  const { say, station, now, wishes } = state;
  const name = evseName(evse);
  const wish = wishes[evse.id];
  const hold = state.holds.find(({ evseId }) => evseId === evse.id);
  const plugs = evse.connectors.map(({ type, maxPowerKw }) =>
    [say(`plug.${type}`), maxPowerKw === null ? say("evse.powerUnknown") : say("evse.power", { kw: maxPowerKw })].join(" · "));
  const status = evse.statusStale ? say("evse.stale", { status: say(`status.${evse.lastKnownStatus}`) }) : null;
  const ageS = evse.statusAgeS === null ? null : evse.statusAgeS + Math.max(0, now - station.at) / 1_000;
  const seen = ageS === null ? say("evse.never") : say("evse.age", { age: age(say, ageS) });
  return html`
    <li class="evse">
      <span class=${`status status-${evse.status}`}>${say(`status.${evse.status}`)}</span>
      <span class="evse-name"><${Told} text=${name} /></span>
      <span class="evse-plugs">${plugs.map((plug) => html`<span>${plug}</span>`)}</span>
      <span class="evse-seen">${seen}${status && html` · ${status}`}</span>
      <span class="evse-do">
        ${hold
          ? html`<${Left} say=${say} hold=${hold} now=${now} /><${LetGo} state=${state} actions=${actions} hold=${hold} />`
          : evse.status === "AVAILABLE" && html`<button type="button" class="primary" data-hold=${evse.id} aria-disabled=${wish?.busy ? "true" : undefined}
              aria-label=${wish?.busy ? undefined : say("hold.doLabel", { name })} onClick=${() => wish?.busy || actions.hold(evse.id, name)}>${say(wish?.busy ? "hold.doing" : "hold.do")}</button>`}
      </span>
      ${hold && html`<p class="note evse-more">${say(`hold.guarantee.${hold.guarantee}`)}</p>`}
      ${wish?.problem && html`<p class="refusal evse-more" role="alert">${say(wish.problem.name) === wish.problem.name ? `${say("problem.other")} ${wish.problem.message ?? ""}` : say(wish.problem.name)}</p>`}
    </li>`;
}

// ----------------------------------------------------------------------------------------------------------- on the map

export function Chrome({ state, actions }) {
  const { say } = state;
  const live = { on: say("live.on"), connecting: say("live.connecting"), away: say("live.away"), off: say("live.off", { s: REFRESH_S }) }[state.live];
  const button = (id, icon, name, action) =>
    html`<button type="button" id=${id} aria-label=${say(name)} title=${say(name)} onClick=${action}><${Icon} name=${icon} /></button>`;
  return html`
    ${state.key && !state.keyRefused && html`<p class=${`live live-${state.live}`} id="live">${live}</p>`}
    <div class="zoom">
      ${button("zoom-in", "plus", "map.zoomIn", () => actions.atlas.zoomBy(1))}
      ${button("zoom-out", "minus", "map.zoomOut", () => actions.atlas.zoomBy(-1))}
      ${button("nation", "home", "map.nation", () => actions.atlas.showNation())}
    </div>
    <${Legend} say=${say} mode=${state.mode} />
    <p class="credit">${say("map.credit")}</p>`;
}

function Legend({ say, mode }) {
  return html`
    <details class="legend">
      <summary>${say("legend.title")}</summary>
      <ul>
        ${mode === "clusters" && html`<li><svg class="ring ring-free" width="24" height="24" viewBox="-16 -16 32 32" aria-hidden="true">
          <circle class="ring-disc" r="12" /><circle class="ring-track" r="12" /><circle class="ring-arc" r="12" stroke-dasharray="45 100" transform="rotate(-90)" /></svg>${say("legend.cluster")}</li>`}
        <li><span class="mark mark-free" aria-hidden="true">3/8</span>${say("legend.free")}</li>
        <li><span class="mark mark-free" aria-hidden="true">3/8<span class="mark-more">+2</span></span>${say("legend.more")}</li>
        <li><span class="mark mark-full" aria-hidden="true">0/8</span>${say("legend.full")}</li>
        <li><span class="mark mark-unknown" aria-hidden="true">?/8</span>${say("legend.unknown")}</li>
        <li><span class="mark mark-free mark-stale" aria-hidden="true">3/8</span>${say("legend.stale")}</li>
      </ul>
    </details>`;
}

// ----------------------------------------------------------------------------------------------------------- query

export function Pane({ state, actions }) {
  const { say, exchanges, which, form, paneOpen } = state;
  if (!paneOpen) return null;
  const exchange = exchanges[which];
  const choice = (name, chosen, choose, words) =>
    html`<button type="button" key=${name} aria-pressed=${String(name === chosen)} onClick=${() => choose(name)}>${words}</button>`;
  return html`
    <div class="pane-head">
      <h2>${say("query.region")}</h2>
      <p class="note">${say("query.intro")}</p>
      <div class="tabs" role="group" aria-label=${say("query.which")}>
        ${["map", "station", "live", "hold"].map((name) => choice(name, which, (chosen) => actions.set({ which: chosen }), say(`query.${name}`)))}
      </div>
    </div>
    ${exchange ? html`<${Exchange} key=${which} state=${state} actions=${actions} exchange=${exchange} choice=${choice} form=${form} />` : html`<p class="note">${say("query.none")}</p>`}`;
}

function Exchange({ state, actions, exchange, choice, form }) {
  const { say, key, which } = state;
  const [copied, setCopied] = useState(null);
  const text = { graphql: exchange.query, json: asJson(exchange), curl: asCurl(exchange, location.origin, hidden(key)) }[form];
  const copy = async () => {
    const whole = form === "curl" ? asCurl(exchange, location.origin, key) : text;
    setCopied((await copies(whole)) ? "query.copied" : "query.copyFailed");
  };
  useEffect(() => setCopied(null), [text]);
  const size = exchange.bytes < 1_024 ? `${exchange.bytes} B` : `${Math.round(exchange.bytes / 1_024)} KB`;
  return html`
    <div class="exchange">
      <div class="forms">
        <div class="tabs" role="group" aria-label=${say("query.form")}>
          ${FORMS.map((name) => choice(name, form, (chosen) => actions.set({ form: chosen }), say(`query.${name}`)))}
        </div>
        <button type="button" id="copy" onClick=${copy}>${say(copied ?? "query.copy")}</button>
      </div>
      <pre tabindex="0" class="code" role="region" aria-label=${`${say(`query.${which}`)}: ${say(`query.${form}`)}`}><${Code} text=${text} /></pre>
      ${form === "graphql" && html`
        <h3>${say("query.variables")}</h3>
        <pre tabindex="0" class="code variables" role="region" aria-label=${say("query.variables")}><${Code} text=${JSON.stringify(exchange.variables, null, 2)} /></pre>`}
      <div class="pane-foot">
        ${exchange.streams ? null : html`<a id="ide" href=${ideLink(exchange, key)} target="_blank" rel="noopener">${say("query.ide")}</a>`}
        ${exchange.ms !== undefined && html`<span class="note">${say("query.took", { ms: Math.max(1, Math.round(exchange.ms)), size })}</span>`}
        ${form === "curl" && html`<span class="note">${say("query.keyNote")}</span>`}
      </div>
    </div>`;
}

function Code({ text }) {
  return html`<code>${pieces(text).map(([kind, piece]) => (kind ? html`<span class=${`code-${kind}`}>${piece}</span>` : piece))}</code>`;
}

async function copies(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return false; // only pages over TLS or from this machine may
  }
}
