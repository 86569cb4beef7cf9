// Reads what people type: "上海 直流 60kW 空闲", "shanghai dc 60 kw free", "人民广场". Pure.

const PLUGS = [
  ["GBT_DC", "gb/t dc", "gbt dc", "dc", "fast", "国标直流", "直流", "快充"],
  ["GBT_AC", "gb/t ac", "gbt ac", "ac", "slow", "国标交流", "交流", "慢充"],
  ["TYPE2_COMBO", "ccs 2", "ccs2", "ccs"],
  ["TYPE2", "type 2", "type2"],
  ["CHADEMO", "chademo"],
  ["CHAOJI", "chaoji"],
  ["NACS", "nacs"],
  ["BATTERY_SWAP", "battery swap", "换电"],
];
const FREE = ["free now", "available", "free", "现在空闲", "有空闲", "空闲"];
const OPEN = ["open now", "open", "正在营业", "营业中", "营业"];
const POWER = /^(\d{1,4}(?:\.\d+)?)\s*(?:kw|千瓦)(?:\s*以上)?/;
const HAN = /\p{Script=Han}/u;

// `places` are rows of [Chinese name, English name, lon, lat]. Returns {place, filter, text}: the place that was named or
// null, what of a StationFilterInput was meant, and the words that are neither, for names and addresses.
export function understand(typed, places) {
  const vocabulary = build(places);
  const meant = { place: null, filter: {}, text: [] };
  let rest = typed.normalize("NFKC").trim().toLowerCase();
  const original = typed.normalize("NFKC").trim();
  while (rest) {
    const [length, meanings] = read(rest, vocabulary);
    if (length > 0) {
      for (const meaning of meanings) meaning(meant);
    } else {
      const word = rest.match(/^[^\s,，、]+/)?.[0];
      if (word) meant.text.push(original.slice(original.length - rest.length).slice(0, word.length));
    }
    const used = length || rest.match(/^[^\s,，、]+/)?.[0].length || 1;
    rest = rest.slice(used).replace(/^[\s,，、]+/, "");
  }
  return { place: meant.place, filter: meant.filter, text: meant.text.join(" ") };
}

function build(places) {
  const words = [];
  const add = (names, meaning) => words.push(...names.map((name) => [name.toLowerCase(), meaning]));
  for (const [plug, ...names] of PLUGS) add(names, ({ filter }) => (filter.connectorTypes = [plug]));
  add(FREE, ({ filter }) => (filter.availableNow = true));
  add(OPEN, ({ filter }) => (filter.openNow = true));
  for (const place of places) {
    add([`${place[0]}市`, place[0], place[1], place[1].normalize("NFD").replace(/\p{M}/gu, "")], (meant) => (meant.place ??= place));
  }
  return words.sort(([one], [other]) => other.length - one.length);
}

// How many characters from the start are understood, up to a white space or a comma, and what they mean. A word that only
// begins like one that we know ("南京路", "freeway") is not understood.
function read(text, vocabulary) {
  const meanings = [];
  let at = 0;
  for (;;) {
    const here = text.slice(at);
    const power = here.match(POWER);
    const word = power ? null : vocabulary.find(([name]) => here.startsWith(name) && isWhole(name, here));
    if (!power && !word) return [0, []];
    meanings.push(power ? ({ filter }) => (filter.minPowerKw = Number(power[1])) : word[1]);
    at += (power ? power[0] : word[0]).length;
    if (at === text.length || /[\s,，、]/.test(text[at])) return [at, meanings];
  }
}

function isWhole(name, text) {
  const next = text[name.length];
  return next === undefined || HAN.test(name.at(-1)) || !/[\p{L}\p{N}]/u.test(next) || HAN.test(next);
}
