// Drives one Chromium over pages that need no script: one JSON command per line on stdin, one
// answer per line on stdout. A visitor has JavaScript turned off, unless told otherwise.
import { createRequire } from 'node:module'
import { readFileSync, writeFileSync } from 'node:fs'
import { createInterface } from 'node:readline'
import { chromium } from 'playwright-core'

const [executablePath] = process.argv.slice(2)
const AXE = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8')
const MOST_MS = 30_000
const browser = await chromium.launch({
  executablePath,
  headless: true,
  args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking'],
})
const pages = new Map()

const commands = {
  async open({ page, url, context }) {
    const opened = await (await browser.newContext({ javaScriptEnabled: false, ...context })).newPage()
    opened.noise = []
    opened.on('console', (line) => line.type() === 'error' && opened.noise.push(line.text()))
    opened.on('pageerror', (error) => opened.noise.push(String(error)))
    pages.set(page, opened)
    return (await opened.goto(url)).status()
  },
  go: async ({ page, url }) => (await pages.get(page).goto(url)).status(),
  check: ({ page, label, on }) => pages.get(page).getByLabel(label, { exact: true }).setChecked(on),
  checked: ({ page, label }) => pages.get(page).getByLabel(label, { exact: true }).isChecked(),
  fill: ({ page, label, text }) => pages.get(page).getByLabel(label).fill(text),
  async click({ page, name }) {
    const at = pages.get(page)
    await Promise.all([at.waitForNavigation(), at.getByRole('button', { name, exact: true }).click()])
  },
  async press({ page, keys, leaves }) {
    const left = leaves ? pages.get(page).waitForNavigation() : null
    for (const key of keys) await pages.get(page).keyboard.press(key)
    await left
  },
  text: ({ page }) => pages.get(page).locator('main').innerText(),
  address: ({ page }) => pages.get(page).url(),
  run: ({ page, code }) => pages.get(page).evaluate(code),
  async shot({ page, path }) {
    const at = pages.get(page)
    if (!path.endsWith('.webp')) return void (await at.screenshot({ path, fullPage: true }))
    // Playwright itself writes no WebP, which is a third of the size.
    const session = await at.context().newCDPSession(at)
    const { data } = await session.send('Page.captureScreenshot', { format: 'webp', quality: 66, captureBeyondViewport: true })
    writeFileSync(path, Buffer.from(data, 'base64'))
  },
  async axe({ page }) {
    const { violations } = await pages.get(page).evaluate(`${AXE}; axe.run(document, { resultTypes: ['violations'] })`)
    return violations.flatMap(({ id, nodes }) => nodes.map((node) => `${id}: ${node.target}: ${node.failureSummary}`))
  },
  noise: ({ page }) => pages.get(page).noise,
  async close({ page }) {
    await pages.get(page).context().close()
    pages.delete(page)
  },
}

async function late({ do: name }) {
  await new Promise((later) => setTimeout(later, MOST_MS).unref())
  throw new Error(`${name} did not end within ${MOST_MS} ms`)
}

console.log(JSON.stringify({ ready: browser.version() }))
for await (const line of createInterface({ input: process.stdin })) {
  const command = JSON.parse(line)
  try {
    const value = await Promise.race([commands[command.do](command), late(command)])
    console.log(JSON.stringify({ value: value ?? null }))
  } catch (error) {
    console.log(JSON.stringify({ error: String(error) }))
  }
}
await browser.close()
