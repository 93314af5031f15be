// Drives one browser: one JSON command per line on stdin, one answer per line on stdout.
// Each visitor has a context of its own, so that no visitor knows another.
// node driver.mjs JSON, which is what browsers.mjs is told
import { createRequire } from 'node:module'
import { readFileSync, writeFileSync } from 'node:fs'
import { createInterface } from 'node:readline'
import { launch } from './browsers.mjs'

const told = JSON.parse(process.argv[2])
const here = new URL('.', import.meta.url)
const AXE = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8')
const AUTOCONSENT = new URL('node_modules/@duckduckgo/autoconsent/', here)
const PATIENCE_MS = 10_000
const MOST_MS = 60_000
const CLOSE_MS = 1_000
const contexts = new Map()
const pages = new Map()

// Before any script of a page: what its policy refused, and whether the browser sends GPC.
const watch = () => {
  window.violations = []
  document.addEventListener('securitypolicyviolation', (event) =>
    window.violations.push(`${event.violatedDirective} ${event.blockedURI}`),
  )
}
const signal = () =>
  Object.defineProperty(Navigator.prototype, 'globalPrivacyControl', { get: () => true, configurable: true })

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

// Firefox tells in the same way of what it refuses to load, which is no error of a script.
const kindOf = ({ name }) => (/^(Content-Security-Policy|Cross-Origin|Firefox|Loading|The|downloadable|)( |$)/.test(name) ? 'browser' : 'page')
const unlessLeft = (error) => (/context|navigat/i.test(error) ? null : Promise.reject(error))

const commands = {
  async context({ context, options, gpc, script }) {
    const opened = await browser.open(options)
    opened.setDefaultTimeout(PATIENCE_MS)
    await opened.addInitScript(watch)
    if (gpc) await opened.addInitScript(signal)
    if (script) await opened.addInitScript(script)
    contexts.set(context, opened)
  },
  async page({ context, page }) {
    const opened = await contexts.get(context).newPage()
    opened.said = []
    opened.on('pageerror', (error) => opened.said.push([kindOf(error), String(error)]))
    opened.on('console', (line) => line.type() === 'error' && opened.said.push(['console', line.text()]))
    pages.set(page, opened)
  },
  async goto({ page, url }) {
    const go = () => pages.get(page).goto(url)
    // A page that is just being loaded anew gets in the way.
    const gone = await go().catch((error) => (/interrupted by another/.test(error) ? go() : Promise.reject(error)))
    return gone?.status()
  },
  reload: ({ page }) => pages.get(page).reload().then(() => null),
  eval: ({ page, source }) => pages.get(page).evaluate(source),
  // What may have the page loaded anew, before it can say what came of it.
  does: ({ page, source }) => pages.get(page).evaluate(source).then(() => null, unlessLeft),
  async wait({ page, source }) {
    // Not waitForFunction: it evaluates text inside of the page, which a strict policy refuses.
    for (const end = Date.now() + PATIENCE_MS; ; ) {
      const found = await pages.get(page).evaluate(source).catch(unlessLeft)
      if (found) return found
      if (Date.now() > end) throw new Error(`never came true: ${source}`)
      await new Promise((later) => setTimeout(later, 20))
    }
  },
  click: ({ page, selector }) => pages.get(page).click(selector),
  front: ({ page }) => pages.get(page).bringToFront().then(() => null),
  async press({ page, keys, leaves }) {
    const left = leaves ? pages.get(page).waitForNavigation() : null
    // Keys reach what a person looks at.
    if (told.browser === 'firefox') await pages.get(page).bringToFront()
    for (const key of keys) await pages.get(page).keyboard.press(key)
    await left
  },
  said: ({ page }) => pages.get(page).said,

  // What a person does with a form, by the words that stand in it.
  check: ({ page, label, on }) => pages.get(page).getByLabel(label, { exact: true }).setChecked(on),
  checked: ({ page, label }) => pages.get(page).getByLabel(label, { exact: true }).isChecked(),
  fill: ({ page, label, text }) => pages.get(page).getByLabel(label).fill(text),
  async submit({ page, name }) {
    const at = pages.get(page)
    await Promise.all([at.waitForNavigation(), at.getByRole('button', { name, exact: true }).click()])
  },

  // Playwright itself writes no WebP, which is a third of the size.
  async shot({ page, path, whole }) {
    const session = await pages.get(page).context().newCDPSession(pages.get(page))
    const options = { format: 'webp', quality: 66, captureBeyondViewport: whole }
    const { data } = await session.send('Page.captureScreenshot', options)
    writeFileSync(path, Buffer.from(data, 'base64'))
  },
  // Playwright's own world is not bound to the page's policy, but a script tag is; so evaluate it.
  async axe({ page }) {
    const { violations } = await pages.get(page).evaluate(`${AXE}; axe.run(document, { resultTypes: ['violations'] })`)
    return violations.flatMap(({ id, nodes }) => nodes.map((node) => `${id}: ${node.target}: ${node.failureSummary}`))
  },
  autoconsent: ({ page, rule, action }) => autoconsent(pages.get(page), rule, action),

  // Firefox lists what has expired until it tidies up, and sends it to nobody.
  async cookies({ context }) {
    const all = await contexts.get(context).cookies()
    return all.filter(({ expires }) => expires === -1 || expires * 1000 > Date.now())
  },
  add: ({ context, cookies }) => contexts.get(context).addCookies(cookies),
  gpc: ({ context }) => contexts.get(context).addInitScript(signal).then(() => null),
  async close({ context }) {
    const closed = contexts.get(context)
    for (const [name, page] of pages) if (page.context() === closed) pages.delete(name)
    contexts.delete(context)
    // While a page still loads or sends, the browser takes its time to say that it closed, or never does.
    // Nobody else has this profile, so nobody waits for that.
    await Promise.race([closed.close(), new Promise((later) => setTimeout(later, CLOSE_MS))])
  },
}

// A command that never ends says so, and what the page said until then.
async function late({ do: name, page }) {
  await new Promise((later) => setTimeout(later, MOST_MS).unref())
  throw new Error(`${name} did not end within ${MOST_MS} ms: ${pages.get(page)?.said.join('; ')}`)
}

const browser = await launch(told)
console.log(JSON.stringify({ ready: browser.version }))
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
