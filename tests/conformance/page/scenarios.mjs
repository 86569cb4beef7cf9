// What people do with the map page: `node scenarios.mjs NAME`, driven by test_map_page.py, which serves the hub at URL
// with the key KEY. What the world is to do meanwhile is asked for on stdout, a line of JSON each, and answered on stdin.
import assert from "node:assert/strict";
import { createInterface } from "node:readline";
import { isAccessible, tabTo, withPage } from "./browser.mjs";

const { URL: hub, KEY: key } = process.env;
const start = `${hub}/#key=${key}`;
const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();

async function world(...request) {
  process.stdout.write(`${JSON.stringify(request)}\n`);
  const { value } = await lines.next();
  assert.equal(value, "done", `the world said ${value}`);
}

function text(page, words) {
  return page.getByText(words, { exact: false }).first().waitFor();
}

async function search(page, words) {
  await page.locator("#typed").fill(words);
  await page.locator("#typed").press("Enter");
}

const SCENARIOS = {
  async "walks by keyboard alone"() {
    await withPage({ url: start }, async (page) => {
      await text(page, "stations in view");
      assert.equal(new URL(page.url()).hash, "", "the key stays out of the address");
      await tabTo(page, "#typed");
      await page.keyboard.type("上海 dc");
      await page.keyboard.press("Enter");
      await page.locator(`[data-item="${process.env.STATION}"]`).waitFor();
      await tabTo(page, `[data-item="${process.env.STATION}"]`);
      await page.keyboard.press("Enter");
      await page.locator("#station-title:focus").waitFor();
      await tabTo(page, `[data-hold="${process.env.EVSE}"]`);
      await page.keyboard.press("Enter");
      await text(page, "Yours for");
      await page.locator("#said", { hasText: "is held for 10 minutes" }).waitFor({ state: "attached" });
      assert.match(await page.locator(".evse .left").innerText(), /^Yours for (10:00|9:\d\d)$/);
      await page.locator(`[data-hold="${process.env.EVSE}"]:focus`).waitFor();
      await isAccessible(page, "a hold");
      await world("is held", process.env.EVSE);
      await page.reload();
      await text(page, "Held for you");
      await tabTo(page, `.holds [data-hold="${process.env.EVSE}"]`);
      await page.keyboard.press("Enter");
      await page.locator(`[data-hold="${process.env.EVSE}"]`).waitFor({ state: "detached" });
      await world("is free", process.env.EVSE);
      await tabTo(page, "#map");
      const before = await page.locator(".leaflet-map-pane").getAttribute("style");
      await page.keyboard.press("ArrowRight");
      await page.waitForFunction((style) => document.querySelector(".leaflet-map-pane").getAttribute("style") !== style, before);
    });
  },

  async "shows the nation, a place and a station"() {
    for (const locale of ["en-GB", "zh-CN"]) {
      const zh = locale === "zh-CN";
      await withPage({ url: start, locale }, async (page) => {
        await page.locator(".ring").first().waitFor();
        assert.equal(await page.locator("html").getAttribute("lang"), zh ? "zh-CN" : "en");
        const counts = await page.locator(".ring-count").allTextContents();
        assert.equal(counts.map(Number).reduce((all, each) => all + each, 0), Number(process.env.STATIONS));
        assert.match(await page.locator(".code").first().innerText(), /stationClusters/);
        await isAccessible(page, `clusters, ${locale}`);
        await page.locator(".legend summary").click();
        await isAccessible(page, `legend, ${locale}`);
        await page.locator(".ring", { hasText: /^\d\d+$/ }).first().click();
        await search(page, zh ? "上海 直流 空闲" : "Shanghai DC free");
        await page.locator("#free:checked").waitFor({ state: "attached" });
        assert.equal(await page.locator("#plug").inputValue(), "GBT_DC");
        const mark = page.locator(`.mark[data-station="${process.env.STATION}"]`);
        await mark.waitFor();
        assert.match(await page.locator(".code").first().innerText(), /stationsInArea/);
        await isAccessible(page, `stations, ${locale}`);
        for (let i = 0; i < 3; i += 1) {
          await page.locator("#zoom-in").click();
          await page.waitForTimeout(400); // the map takes one step at a time
        }
        await mark.click();
        await page.locator("#station-title", { hasText: "人民广场超充站" }).waitFor();
        await text(page, zh ? "空闲" : "of 4 free");
        await isAccessible(page, `a station, ${locale}`);
        for (const form of zh ? ["JSON", "curl"] : ["curl", "JSON"]) {
          await page.getByRole("button", { name: form, exact: true }).click();
          await isAccessible(page, `${form}, ${locale}`);
        }
        await page.keyboard.press("Escape");
        await page.locator("#station-title").waitFor({ state: "detached" });
        await page.locator("#language").click();
        await page.locator(`html[lang="${zh ? "en" : "zh-CN"}"]`).waitFor();
        await isAccessible(page, "the other language");
      });
    }
  },

  async "finds a station by its name, wherever it is"() {
    await withPage({ url: start }, async (page) => {
      await page.locator(".ring").first().waitFor();
      await search(page, "什么都有");
      await page.locator(".item", { hasText: "什么都有的站" }).click();
      await page.locator("#station-title", { hasText: "什么都有的站" }).waitFor();
      await search(page, "no such station");
      await text(page, "No station in view matches");
      await isAccessible(page, "nothing found");
      await page.locator(".chip").click();
      await text(page, "stations in view");
    });
  },

  async "copies a query that works"() {
    await withPage({ url: start }, async (page) => {
      await page.locator(".ring").first().waitFor();
      await page.context().grantPermissions(["clipboard-read", "clipboard-write"]);
      await page.getByRole("button", { name: "JSON", exact: true }).click();
      await page.locator("#copy").click();
      await page.locator("#copy", { hasText: "Copied" }).waitFor();
      const body = await page.evaluate(() => navigator.clipboard.readText());
      const headers = { Authorization: `Bearer ${key}`, "Content-Type": "application/json" };
      const answer = await (await fetch(`${hub}/graphql`, { method: "POST", headers, body })).json();
      assert.equal(answer.errors, undefined);
      assert.ok(answer.data.stationClusters.length > 1);
      await page.getByRole("button", { name: "curl", exact: true }).click();
      assert.ok(!(await page.locator(".code").first().innerText()).includes(key), "the key is not shown");
      await page.locator("#copy").click();
      await page.locator("#copy", { hasText: "Copied" }).waitFor();
      await world("curl finds", await page.evaluate(() => navigator.clipboard.readText()), "stationClusters");
      const [ide] = await Promise.all([page.context().waitForEvent("page"), page.locator("#ide").click()]);
      await ide.locator(".graphiql-query-editor", { hasText: "MapClusters" }).waitFor();
    });
  },

  async "shows what changes without asking again"() {
    await withPage({ url: start }, async (page) => {
      await page.locator(".ring").first().waitFor();
      await search(page, "上海 dc");
      const mark = page.locator(`.mark[data-station="${process.env.STATION}"]`);
      await page.locator(".live-on").waitFor();
      await mark.filter({ hasText: "2/4" }).waitFor();
      const asked = [];
      page.on("request", (request) => asked.push(request.postData()));
      await world("say", process.env.EVSE, "CHARGING");
      await mark.filter({ hasText: "1/4" }).waitFor();
      await page.locator(`[data-item="${process.env.STATION}"]`, { hasText: "1 of 4 free" }).waitFor();
      await world("say", process.env.EVSE, "AVAILABLE");
      await mark.filter({ hasText: "2/4" }).waitFor();
      assert.deepEqual(asked, [], "nothing was asked");
      await page.locator(`[data-item="${process.env.STATION}"]`).click();
      await page.locator(`[data-hold="${process.env.EVSE}"]`).waitFor();
      await world("say", process.env.EVSE, "CHARGING");
      await page.locator(`[data-hold="${process.env.EVSE}"]`).waitFor({ state: "detached" });
      await isAccessible(page, "a change");
    });
  },

  async "counts clusters anew when something changes"() {
    await withPage({ url: start }, async (page) => {
      await page.locator(".ring").first().waitFor();
      await page.locator(".live-on").waitFor();
      const [, free] = (await page.locator("#side").innerText()).match(/(\d+) with a free plug/);
      await world("say", process.env.LONELY, "AVAILABLE");
      await text(page, `${Number(free) + 1} with a free plug`);
      await isAccessible(page, "clusters that change");
    });
  },

  async "says why a hold is refused"() {
    for (const locale of ["en-GB", "zh-CN"]) {
      await withPage({ url: start, locale }, async (page) => {
        await page.locator(".ring").first().waitFor();
        await search(page, "上海");
        await page.locator(`[data-item="${process.env.STATION}"]`).click();
        const hold = page.locator(`[data-hold="${process.env.EVSE}"]`);
        await hold.waitFor();
        // Somebody else is faster, and this page has not heard of it.
        await page.route("**/graphql", async (route) => {
          if (/mutation/.test(route.request().postData())) await world("hold as another", process.env.EVSE);
          await route.continue();
        });
        await hold.click();
        await text(page, locale === "zh-CN" ? "已被他人保留" : "Somebody else holds it");
        await isAccessible(page, `a refusal, ${locale}`);
        await world("let go as another");
      });
    }
  },

  async "asks for a key and says when one is wrong"() {
    for (const locale of ["en-GB", "zh-CN"]) {
      await withPage({ url: `${hub}/`, locale }, async (page) => {
        await page.locator("#key").waitFor();
        await isAccessible(page, `no key, ${locale}`);
        await page.locator("#key").fill("cg_nobodys_key");
        await page.keyboard.press("Enter");
        await text(page, locale === "zh-CN" ? "该密钥无效" : "does not know this key");
        await page.locator("#key:focus").waitFor();
        await isAccessible(page, `a wrong key, ${locale}`);
        await page.locator("#key").fill(key);
        await page.keyboard.press("Enter");
        await page.locator(".ring").first().waitFor();
        await page.reload();
        await page.locator(".ring").first().waitFor();
      });
    }
  },

  async "says that the hub is gone, and comes back with it"() {
    for (const locale of ["en-GB", "zh-CN"]) {
      await withPage({ url: start, locale }, async (page) => {
        await page.locator(".ring").first().waitFor();
        await world("stop the hub");
        await page.locator("#zoom-in").click();
        await text(page, locale === "zh-CN" ? "系统没有响应" : "The hub does not answer");
        await page.locator("#retry").waitFor();
        await isAccessible(page, `no hub, ${locale}`);
        await world("start the hub");
        await page.locator(".problem").waitFor({ state: "detached" });
        await page.locator("#said", { hasText: locale === "zh-CN" ? "连接已恢复" : "The connection is back" }).waitFor({ state: "attached" });
      });
    }
  },

  async "fits a telephone"() {
    for (const locale of ["en-GB", "zh-CN"]) {
      await withPage({ url: start, locale, width: 360, height: 740 }, async (page) => {
        await page.locator(".ring").first().waitFor();
        await isAccessible(page, `telephone, ${locale}`);
        await search(page, "上海");
        await page.locator(`[data-item="${process.env.STATION}"]`).click();
        await page.locator(`[data-hold="${process.env.EVSE}"]`).scrollIntoViewIfNeeded();
        await page.locator("#toggle-pane").click();
        await page.locator(".code").first().waitFor();
        await isAccessible(page, `a station on a telephone, ${locale}`);
        const { wide, room } = await page.evaluate(() => ({ wide: document.documentElement.scrollWidth, room: innerWidth }));
        assert.ok(wide <= room, `${wide} pixels do not fit in ${room}`);
      });
    }
  },

  async "takes operators' words as words"() {
    await withPage({ url: start }, async (page) => {
      await page.locator(".ring").first().waitFor();
      await world("index a station of", "<img src=x onerror=alert(1)>");
      await search(page, "onerror");
      await page.locator(".item", { hasText: "onerror" }).click();
      await page.locator("#station-title", { hasText: "<img src=x onerror=alert(1)>" }).waitFor();
      assert.equal(await page.locator("img").count(), 0);
      assert.equal(await page.locator('.facts a[href^="javascript"]').count(), 0);
    });
  },
};

if (process.argv[2]) {
  await SCENARIOS[process.argv[2]]();
  process.exit(0); // stdin stays open
}
process.stdout.write(`${JSON.stringify(Object.keys(SCENARIOS))}\n`);
process.exit(0);
