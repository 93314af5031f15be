// Walks the demo's pages in Chromium, and prints what it saw as one JSON document.
// node demo.cjs BASE CHROMIUM

const { chromium } = require("playwright-core");

const [base, executablePath] = process.argv.slice(2);
const FLAGS = [
  "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
  "--disable-background-networking", "--disable-component-update", "--disable-sync",
];
const saw = { errors: [], origins: [], refused: [] };

function watch(page) {
  page.on("console", (message) => {
    if (["error", "warning"].includes(message.type())) saw.errors.push(message.text());
  });
  page.on("pageerror", (error) => saw.errors.push(error.message));
  page.on("response", (response) => {
    if (response.status() >= 400) saw.refused.push(`${response.status()} ${response.url()}`);
  });
}

/** What a live row says of one destination. */
const cell = (event, destination, badge) =>
  `.event[data-event="${event}"] [data-destination="${destination}"] .badge:text-is("${badge}")`;

async function appearance(page, selector) {
  return page.$$eval(selector, (buttons) =>
    buttons.map((button) => {
      const style = getComputedStyle(button);
      const { width, height } = button.getBoundingClientRect();
      const looks = ["color", "backgroundColor", "borderColor", "borderWidth", "fontSize", "fontWeight", "fontFamily"];
      return [button.tagName, Math.round(width), Math.round(height), ...looks.map((name) => style[name])].join(" ");
    }),
  );
}

async function keyboard(shop) {
  // Reached by the keyboard alone, and Escape is no acceptance.
  await shop.keyboard.press("Tab"); // skip link
  const order = [];
  for (let n = 0; n < 3; n += 1) {
    await shop.keyboard.press("Tab");
    order.push(await shop.evaluate(() => document.activeElement.textContent));
  }
  await shop.keyboard.press("Enter");
  await shop.waitForSelector("#panel[open]");
  saw.ticked = await shop.$$eval("#categories input:checked", (boxes) => boxes.length);
  saw.boxes = await shop.$$eval("#categories input", (boxes) => boxes.length);
  await shop.keyboard.press("Escape");
  await shop.waitForSelector("#panel", { state: "hidden" });
  saw.keyboard = order;
  saw.focusAfterEscape = await shop.evaluate(() => document.activeElement.textContent);
  saw.bannerAfterEscape = await shop.isVisible("#banner");
}

/** Each page in a window of its own, as side by side: a hidden one would be slowed down. */
async function walk(windows) {
  const [shop, live] = await Promise.all(windows.map((window) => window.newPage()));
  watch(shop);
  await shop.goto(`${base}/`);
  await shop.waitForSelector("#trace .badge:text-is('Withheld')");
  saw.firstLayer = await appearance(shop, "#banner .choice");
  await keyboard(shop);

  watch(live);
  await live.goto(`${base}/live`);
  await live.waitForSelector("#connection[data-state=live]");
  await live.waitForSelector(".event");

  await shop.click("#banner [data-do=accept_all]");
  await shop.waitForSelector("#state .badge.yes");
  await shop.click("#sign-in button");
  await shop.click("[data-product=mug]");
  await shop.click("#order");
  for (const name of ["analytics", "email", "ads"]) {
    await live.waitForSelector(cell("Order Completed", name, "Delivered"));
  }

  await live.click("#ads-fail");
  await live.waitForSelector("#ads[data-failing=true]");
  await shop.click("[data-product=teapot]");
  await live.waitForSelector(cell("Product Added", "ads", "Waiting"));
  await live.waitForSelector("#received [data-destination=ads] [data-status='500']");
  saw.keptByAdsBefore = await live.textContent("#received [data-destination=ads] .count");

  await shop.click("aside [data-do=withdraw]");
  await shop.waitForSelector("#status:text('Withdrawn')");
  await live.click("#ads-recover");
  await live.waitForSelector(cell("Product Added", "ads", "Withheld"));
  saw.withheldSays = await live.textContent('.event[data-event="Product Added"] [data-destination="ads"] dd:has(.badge.no)');
  await live.waitForSelector("#ads[data-failing=false]");
  const visitor = await shop.evaluate(() => JSON.parse(localStorage.getItem("consentry-demo")).anonymousId);
  await live.selectOption("#subject", visitor);
  await live.waitForSelector("#history .changes:has-text('refused')");
  saw.keptByAdsAfter = await live.textContent("#received [data-destination=ads] .count");
  saw.history = await live.$$eval("#history li", (items) => items.map((item) => item.textContent));
  saw.checkpoint = await live.textContent("#checkpoint");

  saw.widths = [];
  for (const page of [shop, live]) {
    await page.setViewportSize({ width: 360, height: 740 });
    saw.widths.push(await page.evaluate(() => document.documentElement.scrollWidth));
  }
}

async function main() {
  const browser = await chromium.launch({ executablePath, args: FLAGS });
  try {
    const origins = new Set();
    const windows = await Promise.all([1, 2].map(() => browser.newContext({ viewport: { width: 1280, height: 900 } })));
    for (const window of windows) {
      window.setDefaultTimeout(10000);
      window.on("request", (request) => origins.add(new URL(request.url()).origin));
    }
    await walk(windows);
    saw.origins = [...origins];
  } finally {
    await browser.close();
  }
  console.log(JSON.stringify(saw));
}

main().catch((error) => {
  console.error(error, JSON.stringify(saw));
  process.exit(1);
});
