// Walks the demo's pages in Chromium, and prints what it saw as one JSON document.
// node demo.cjs BASE CHROMIUM

const { chromium } = require("playwright-core");

const BANNER = "[data-consentry=banner]";
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

/** The banner's own buttons, in order, and what Enter and Escape do. */
async function keyboard(shop) {
  const order = [];
  for (let n = 0; n < 6 && order.length < 3; n += 1) {
    await shop.keyboard.press("Tab");
    const name = await shop.evaluate(() => document.activeElement.dataset.consentry);
    if (["accept", "reject", "choose"].includes(name)) order.push(name);
  }
  saw.keyboard = order;
  await shop.focus(`${BANNER} [data-consentry=choose]`);
  await shop.keyboard.press("Enter");
  await shop.waitForSelector("[data-consentry=centre]");
  saw.boxes = await shop.$$eval("[data-consentry=switch]", (boxes) => boxes.map((box) => [box.value, box.checked]));
  await shop.keyboard.press("Escape");
  await shop.waitForSelector("[data-consentry=centre]", { state: "detached" });
  saw.focusAfterEscape = await shop.evaluate(() => document.activeElement.dataset.consentry);
  saw.bannerAfterEscape = await shop.isVisible(BANNER);
}

const tags = (page) => page.$$eval("#tags [data-tag]", (all) => Object.fromEntries(all.map((tag) => [tag.dataset.tag, tag.textContent])));
const running = (page, how) => page.waitForFunction(
  (word) => [...document.querySelectorAll("#tags [data-tag]")].every((tag) => tag.textContent === word), how);

/** Each page in a window of its own, as side by side: a hidden one would be slowed down. */
async function walk(windows) {
  const [shop, live] = await Promise.all(windows.map((window) => window.newPage()));
  watch(shop);
  await shop.goto(`${base}/`);
  await shop.waitForSelector("#trace .badge:text-is('Withheld')");
  await shop.waitForSelector(BANNER);
  saw.firstLayer = await appearance(shop, `${BANNER} :is([data-consentry=accept], [data-consentry=reject])`);
  saw.tagsBefore = await tags(shop);
  saw.cookiesBefore = (await shop.context().cookies()).map((cookie) => cookie.name);
  await keyboard(shop);
  const second = await shop.context().newPage();
  watch(second);
  await second.goto(`${base}/`);
  await second.waitForSelector(BANNER);
  await shop.bringToFront();

  watch(live);
  await live.goto(`${base}/live`);
  await live.waitForSelector("#connection[data-state=live]");
  await live.waitForSelector(".event");

  await shop.click(`${BANNER} [data-consentry=accept]`);
  await shop.waitForSelector("#state .badge.yes");
  for (const tab of [shop, second]) await running(tab, "Running");
  saw.bannerElsewhere = await second.isVisible(BANNER);
  saw.cookiesWith = (await shop.context().cookies()).map((cookie) => cookie.name);
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

  await shop.click("#withdraw");
  await shop.waitForSelector("#status:text('Everything is refused')");
  for (const tab of [shop, second]) await running(tab, "Not running");
  await shop.waitForFunction(() => !document.cookie.includes("_"));
  saw.cookiesAfter = (await shop.context().cookies()).map((cookie) => cookie.name);
  saw.adShown = await second.isVisible("#ad");
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
