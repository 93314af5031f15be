// Serves a page with the real banner files under a strict Content-Security-Policy, and drives one
// Chromium: one JSON command per line on stdin, one answer per line on stdout.
import { createServer } from 'node:http'
import { readFileSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { createInterface } from 'node:readline'
import { chromium } from 'playwright-core'

const [port, executablePath] = process.argv.slice(2)
const here = new URL('.', import.meta.url)
const require = createRequire(import.meta.url)
const read = (path) => readFileSync(new URL(path, here))
const dist = (name) => read(`../../../sdk/js/dist/${name}`)
const MOST_MS = 60_000
const AXE = readFileSync(require.resolve('axe-core/axe.min.js'), 'utf8')
const AUTOCONSENT = new URL('node_modules/@duckduckgo/autoconsent/', here)
const POLICY = "default-src 'self'; frame-src 'none'; require-trusted-types-for 'script'"

const files = {
  '/': ['text/html', () => read('ui/page.html')],
  '/page.css': ['text/css', () => read('ui/page.css')],
  '/page.js': ['text/javascript', () => read('ui/page.js')],
  '/consentry-ui.js': ['text/javascript', () => dist('consentry-ui.js')],
  '/consentry-ui.css': ['text/css', () => dist('consentry-ui.css')],
}
const server = createServer((request, response) => {
  const [type, body] = files[new URL(request.url, 'http://page').pathname] ?? ['text/plain', () => '']
  response.writeHead(200, { 'content-type': `${type}; charset=utf-8`, 'content-security-policy': POLICY })
  response.end(body())
})
await new Promise((listening) => server.listen(Number(port), '127.0.0.1', listening))

const browser = await chromium.launch({
  executablePath,
  headless: true,
  args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking'],
})
const pages = new Map()

// How the extension that carries autoconsent talks to the script it puts into each page.
async function autoconsent(page, rule, action) {
  const { autoconsent: rules } = JSON.parse(readFileSync(new URL('rules/rules.json', AUTOCONSENT)))
  const script = readFileSync(new URL('dist/autoconsent.playwright.js', AUTOCONSENT), 'utf8')
  const config = { enabled: true, autoAction: action, disabledCmps: [], enablePrehide: false, detectRetries: 20 }
  const received = []
  const done = new Promise((settle) => {
    void page.exposeBinding('autoconsentSendMessage', async ({ frame }, message) => {
      received.push({ type: message.type, cmp: message.cmp, result: message.result })
      const answer = (value) => frame.evaluate(`autoconsentReceiveMessage(${JSON.stringify(value)})`)
      if (message.type === 'init')
        await answer({ type: 'initResp', config, rules: { autoconsent: [...rules, rule] } })
      if (message.type === 'eval')
        await answer({ id: message.id, type: 'evalResp', result: await frame.evaluate(message.code) })
      if (message.type === 'autoconsentDone') await answer({ type: 'selfTest' })
      if (message.type === 'selfTestResult') settle()
    }).then(() => page.evaluate(script))
  })
  await done
  return received
}

const commands = {
  async open({ page, given, context }) {
    const opened = await (await browser.newContext(context)).newPage()
    opened.noise = []
    opened.on('pageerror', (error) => opened.noise.push(String(error)))
    opened.on('console', (line) => line.type() === 'error' && opened.noise.push(line.text()))
    await opened.addInitScript((value) => void (window.given = value), given)
    pages.set(page, opened)
    await opened.goto(`http://127.0.0.1:${port}/`)
    await opened.evaluate(() => window.ready)
  },
  run: ({ page, code }) => pages.get(page).evaluate(code),
  press: async ({ page, keys }) => {
    for (const key of keys) await pages.get(page).keyboard.press(key)
  },
  click: ({ page, selector }) => pages.get(page).click(selector, { timeout: 5000 }),
  // Playwright itself writes no WebP, which is a third of the size.
  async shot({ page, path }) {
    const session = await pages.get(page).context().newCDPSession(pages.get(page))
    const { data } = await session.send('Page.captureScreenshot', { format: 'webp', quality: 66 })
    writeFileSync(path, Buffer.from(data, 'base64'))
  },
  // Playwright's own world is not bound to the page's policy, but a script tag is; so evaluate it.
  async axe({ page }) {
    const { violations } = await pages.get(page).evaluate(`${AXE}; axe.run(document, { resultTypes: ['violations'] })`)
    return violations.flatMap(({ id, nodes }) => nodes.map((node) => `${id}: ${node.target}: ${node.failureSummary}`))
  },
  autoconsent: ({ page, rule, action }) => autoconsent(pages.get(page), rule, action),
  async noise({ page }) {
    return [...pages.get(page).noise, ...(await pages.get(page).evaluate(() => window.violations))]
  },
  async close({ page }) {
    await pages.get(page).context().close()
    pages.delete(page)
  },
}

// A command that never ends says so, and what the page said until then.
async function late({ do: name, page }) {
  await new Promise((later) => setTimeout(later, MOST_MS).unref())
  throw new Error(`${name} did not end within ${MOST_MS} ms: ${pages.get(page)?.noise.join('; ')}`)
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
server.close()
