// Takes the picture of the README: `node picture.mjs ADDRESS FILE`, of a demo that runs.
import { withPage } from "./browser.mjs";

const [url, path] = process.argv.slice(2);
await withPage({ url, width: 1360, height: 820 }, async (page) => {
  await page.locator(".ring").first().waitFor();
  for (const state of ["on", "off"]) {
    // The first answers of a hub that has just started are slower than all later ones.
    await page.getByText("Free now", { exact: true }).click();
    await page.locator(".exchange", { hasText: state === "on" ? "availableNow" : '"filter": null' }).waitFor();
  }
  await page.mouse.move(700, 300);
  await page.waitForTimeout(1_500); // the land is drawn, and the size of the last answer is told
  await page.screenshot({ path });
});
