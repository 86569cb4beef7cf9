// What the search box makes of what people type.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { pathToFileURL } from "node:url";

const page = pathToFileURL(`${process.env.PAGE}/`);
const { understand } = await import(new URL("understand.js", page));
const places = JSON.parse(readFileSync(new URL("places.json", page), "utf8"));

for (const [typed, place, filter, text] of [
  ["上海 直流 60kW 空闲", "Shanghai", { connectorTypes: ["GBT_DC"], minPowerKw: 60, availableNow: true }, ""],
  ["上海直流60千瓦空闲", "Shanghai", { connectorTypes: ["GBT_DC"], minPowerKw: 60, availableNow: true }, ""],
  ["shanghai DC 60 kW free", "Shanghai", { connectorTypes: ["GBT_DC"], minPowerKw: 60, availableNow: true }, ""],
  ["Hong Kong, CCS2, open now", "Hong Kong", { connectorTypes: ["TYPE2_COMBO"], openNow: true }, ""],
  ["北京市 120kW以上", "Beijing", { minPowerKw: 120 }, ""],
  ["urumqi", "Ürümqi", {}, ""],
  ["南京路充电站", null, {}, "南京路充电站"],
  ["慢充站", null, {}, "慢充站"],
  ["freeway Star Charge", null, {}, "freeway Star Charge"],
  ["星星充电 上海", "Shanghai", {}, "星星充电"],
  ["　７ｋｗ　交流 ", null, { connectorTypes: ["GBT_AC"], minPowerKw: 7 }, ""],
  ["", null, {}, ""],
]) {
  test(typed || "nothing", () => {
    const meant = understand(typed, places);
    assert.deepEqual([meant.place?.[1] ?? null, meant.filter, meant.text], [place, filter, text]);
  });
}

test("every place is found by each of its names", () => {
  for (const place of places) {
    for (const name of place.slice(0, 2)) assert.equal(understand(name, places).place, place, name);
  }
});
