// A real Chromium on the page, with everything that must never happen turned into a failure.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { chromium } from "playwright-core";

const AXE = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const FLAGS = [
  "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
  "--disable-component-update", "--disable-sync",
];
const PATIENCE_MS = Number(process.env.PATIENCE_MS ?? 60_000);

// Opens an address; calls `use` with the page and `problems`, which must stay empty.
export async function withPage({ url, locale = "en-GB", width = 1440, height = 900, scale = 1 }, use) {
  const browser = await chromium.launch({ executablePath: process.env.CHROMIUM, args: FLAGS, timeout: PATIENCE_MS });
  try {
    const context = await browser.newContext({
      locale, viewport: { width, height }, deviceScaleFactor: scale, reducedMotion: "reduce", serviceWorkers: "block",
    });
    const problems = [];
    const origin = new URL(url).origin;
    await context.route("**", (route) => {
      const address = route.request().url();
      if (new URL(address).origin === origin) return route.continue();
      problems.push(`asked elsewhere: ${address}`);
      return route.abort();
    });
    const page = await context.newPage();
    page.setDefaultTimeout(PATIENCE_MS);
    page.on("pageerror", (error) => problems.push(`threw: ${error.stack}`));
    page.on("console", (message) => {
      if (/Content Security Policy|Trusted Type/i.test(message.text())) problems.push(`policy: ${message.text()}`);
    });
    await page.goto(url);
    await use(page, problems);
    if (problems.length > 0) throw new Error(problems.join("\n"));
  } finally {
    await browser.close();
  }
}

// Fails with what axe-core finds on the page as it stands.
export async function isAccessible(page, state) {
  await page.evaluate(AXE);
  const found = await page.evaluate(async () => {
    const { violations } = await axe.run(document);
    return violations.map(({ id, help, nodes }) => `${id}: ${help}\n${nodes.map(({ html, failureSummary }) => `  ${html}\n  ${failureSummary}`).join("\n")}`);
  });
  if (found.length > 0) throw new Error(`axe, ${state}:\n${found.join("\n")}`);
}

// Presses Tab until the focus is on what `selector` names, as somebody without a pointer does.
export async function tabTo(page, selector, { back = false, most = 80 } = {}) {
  for (let i = 0; i < most; i += 1) {
    if (await page.evaluate((wanted) => document.activeElement?.matches(wanted) ?? false, selector)) return;
    await page.keyboard.press(back ? "Shift+Tab" : "Tab");
  }
  const at = await page.evaluate(() => document.activeElement?.outerHTML.slice(0, 200));
  throw new Error(`${most} tabs did not reach ${selector}; the focus is on ${at}`);
}
