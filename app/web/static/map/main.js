// Starts the page: one state (actions.js), drawn by views.js and atlas.js after each change.

import { Actions } from "./actions.js";
import { Atlas } from "./atlas.js";
import { html, render } from "./preact.js";
import { Chrome, Header, Pane, Side } from "./views.js";
import { preferredLanguage, tagOf } from "./words.js";

const SECOND_MS = 1_000;

async function load(name) {
  const response = await fetch(`/map/${name}.json`);
  return response.json();
}

const [table, places, land] = await Promise.all(["words", "places", "land"].map(load));
const { key, language } = Actions.remembered();
const actions = new Actions({
  table,
  places,
  key,
  language: language in table.title ? language : preferredLanguage(navigator.languages),
  changed: draw,
});

const at = (id) => document.getElementById(id);
let atlas = null;
let drawnPane;
function draw(state) {
  const { say } = state;
  document.documentElement.lang = tagOf(state.language);
  document.title = say("title");
  for (const [id, name] of [["side", "results.region"], ["stage", "map.region"], ["pane", "query.region"]]) {
    at(id).setAttribute("aria-label", say(name));
  }
  at("map").setAttribute("role", "application");
  at("map").setAttribute("aria-label", say("map.label"));
  document.body.classList.toggle("with-pane", state.paneOpen);
  render(html`<${Header} state=${state} actions=${actions} />`, at("header"));
  render(html`<${Side} state=${state} actions=${actions} />`, at("side"));
  render(html`<${Chrome} state=${state} actions=${actions} />`, at("chrome"));
  render(html`<${Pane} state=${state} actions=${actions} />`, at("pane"));
  if (at("said").textContent !== state.said) at("said").textContent = state.said;
  atlas?.show({ ...state, stations: state.stations.values() });
  if (drawnPane !== state.paneOpen) {
    drawnPane = state.paneOpen;
    atlas?.resized();
  }
}

actions.set({}); // the map needs the room that it will have
atlas = actions.atlas = new Atlas(at("map"), {
  land,
  places,
  moved: (view) => actions.moved(view),
  picked: (id) => actions.select(id),
});
actions.set({ view: atlas.view() });
new ResizeObserver(() => atlas.resized()).observe(at("map"));
setInterval(() => actions.tick(), SECOND_MS);
document.addEventListener("visibilitychange", () => document.hidden || actions.refresh({ quiet: true }));
if (key) actions.begin();
