// Drives one Chromium that visits pages by name: one JSON command per line on stdin, one answer
// per line on stdout. Every visit has a context of its own, so that no visitor knows another.
import { createInterface } from 'node:readline'
import { chromium } from 'playwright-core'

const [executablePath, rules, trusted] = process.argv.slice(2)
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
    // Not all errors: what a certificate with an error came with is never cached.
    `--ignore-certificate-errors-spki-list=${trusted}`,
    '--short-reporting-delay',
    `--host-resolver-rules=${rules}`,
  ],
})
const contexts = new Map()

const commands = {
  async open({ name, url, cookies, headers }) {
    const context = await browser.newContext({ extraHTTPHeaders: headers ?? {} })
    contexts.set(name, context)
    await context.addCookies(cookies ?? [])
    const page = await context.newPage()
    context.first = page
    await page.goto(url, { waitUntil: 'load' })
    await page.waitForFunction(() => window.done === true)
    return page.title()
  },
  async goto({ name, url }) {
    const page = contexts.get(name).first
    await page.goto('about:blank')
    const answer = await page.goto(url, { waitUntil: 'load' })
    await page.waitForFunction(() => window.done === true)
    return answer.status()
  },
  answer: ({ name, cookies }) => contexts.get(name).addCookies(cookies),
  evaluate: ({ name, code }) => contexts.get(name).first.evaluate(code),
  async close({ name }) {
    await contexts.get(name).close()
    contexts.delete(name)
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
