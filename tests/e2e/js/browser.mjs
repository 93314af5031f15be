// Serves the page, and drives one Chromium: one JSON command per line on stdin, one answer per
// line on stdout. Each page has a context of its own, so that no visitor knows another.
import { createServer } from 'node:http'
import { readFileSync } from 'node:fs'
import { createInterface } from 'node:readline'
import { build } from 'esbuild'
import { chromium } from 'playwright-core'

const [port, executablePath] = process.argv.slice(2)
const here = new URL('.', import.meta.url)
const script = await build({
  entryPoints: [new URL('page.mjs', here).pathname],
  bundle: true,
  write: false,
  format: 'iife',
  target: 'es2020',
  define: { 'process.env.NODE_ENV': '"production"' },
  logLevel: 'silent',
})
const files = {
  '/': ['text/html', readFileSync(new URL('page.html', here))],
  '/page.js': ['text/javascript', script.outputFiles[0].contents],
}
const server = createServer((request, response) => {
  const [type, body] = files[new URL(request.url, 'http://shop').pathname] ?? ['text/plain', '']
  response.writeHead(200, { 'content-type': type })
  response.end(body)
})
await new Promise((listening) => server.listen(Number(port), '127.0.0.1', listening))

const browser = await chromium.launch({
  executablePath,
  headless: true,
  args: [
    '--no-sandbox',
    '--disable-gpu',
    '--disable-quic',
    '--no-first-run',
    '--disable-background-networking',
    '--disable-component-update',
    '--disable-sync',
  ],
})
const pages = new Map()

const commands = {
  async open({ page, url }) {
    const context = await browser.newContext()
    const opened = await context.newPage()
    opened.noise = []
    opened.on('pageerror', (error) => opened.noise.push(String(error)))
    pages.set(page, opened)
    await opened.goto(url)
  },
  run: ({ page, member, args }) =>
    pages.get(page).evaluate(([name, given]) => window.shop[name](...given), [member, args]),
  failures: async ({ page }) => [
    ...pages.get(page).noise,
    ...(await pages.get(page).evaluate(() => window.shop?.failures ?? [])),
  ],
  leave: ({ page, url }) => pages.get(page).goto(url).then(() => null),
  async close({ page }) {
    await pages.get(page).context().close()
    pages.delete(page)
  },
}

console.log(JSON.stringify({ ready: browser.version() }))
for await (const line of createInterface({ input: process.stdin })) {
  const command = JSON.parse(line)
  try {
    const value = await commands[command.do](command)
    console.log(JSON.stringify({ value: value ?? null }))
  } catch (error) {
    console.log(JSON.stringify({ error: String(error) }))
  }
}
await browser.close()
server.close()
