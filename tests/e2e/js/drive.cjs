// Drives one Chromium for tests/sdk: one JSON command per line on stdin, one answer per line on
// stdout. Every name that ends in .test leads to the site of the tests.
// node drive.cjs PORT CHROMIUM
const { createInterface } = require("node:readline");
const { chromium } = require("playwright-core");

const [port, executablePath] = process.argv.slice(2);
const FLAGS = [
  "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
  "--disable-background-networking", "--disable-component-update", "--disable-sync",
  `--host-resolver-rules=MAP *.test 127.0.0.1:${port}`,
];
const contexts = new Map();
const pages = new Map();

// Before any script of a page: what its policy refused, and whether the browser sends GPC.
const watch = () => {
  window.violations = [];
  document.addEventListener("securitypolicyviolation", (event) => window.violations.push(`${event.violatedDirective} ${event.blockedURI}`));
};
const signal = () => Object.defineProperty(Navigator.prototype, "globalPrivacyControl", { get: () => true, configurable: true });

const commands = {
  async context({ context, options, gpc, script }) {
    const opened = await browser.newContext(options);
    opened.setDefaultTimeout(10000);
    await opened.addInitScript(watch);
    if (gpc) await opened.addInitScript(signal);
    if (script) await opened.addInitScript(script);
    contexts.set(context, opened);
  },
  async page({ context, page }) {
    const opened = await contexts.get(context).newPage();
    opened.said = [];
    opened.on("pageerror", (error) => opened.said.push(String(error)));
    opened.on("console", (message) => message.type() === "error" && opened.said.push(message.text()));
    pages.set(page, opened);
  },
  goto: ({ page, url }) => pages.get(page).goto(url).then(() => null),
  reload: ({ page }) => pages.get(page).reload().then(() => null),
  eval: ({ page, source }) => pages.get(page).evaluate(source),
  async wait({ page, source }) {
    // Not waitForFunction: it evaluates text inside of the page, which a strict policy refuses.
    for (const end = Date.now() + 10000; ; ) {
      const found = await pages.get(page).evaluate(source).catch((error) => (/context|navigat/i.test(error) ? null : Promise.reject(error)));
      if (found) return found;
      if (Date.now() > end) throw new Error(`never came true: ${source}`);
      await new Promise((later) => setTimeout(later, 20));
    }
  },
  click: ({ page, selector }) => pages.get(page).click(selector),
  said: ({ page }) => pages.get(page).said,
  cookies: ({ context }) => contexts.get(context).cookies(),
  add: ({ context, cookies }) => contexts.get(context).addCookies(cookies),
  async gpc({ context }) {
    await contexts.get(context).addInitScript(signal);
  },
  async close({ context }) {
    await contexts.get(context).close();
    contexts.delete(context);
  },
};

let browser;
async function main() {
  browser = await chromium.launch({ executablePath, headless: true, args: FLAGS });
  console.log(JSON.stringify({ ready: browser.version() }));
  for await (const line of createInterface({ input: process.stdin })) {
    const command = JSON.parse(line);
    try {
      console.log(JSON.stringify({ value: (await commands[command.do](command)) ?? null }));
    } catch (error) {
      console.log(JSON.stringify({ error: String(error) }));
    }
  }
  await browser.close();
}
main();
