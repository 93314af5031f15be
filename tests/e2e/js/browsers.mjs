// The browsers that can be driven, each as people have it, but for what speaks to its maker.
import { chromium, firefox } from 'playwright-core'
import { known } from './names.mjs'

// Every profile has a window, and every window prepares pages for the suggestions of its address bar, which nobody
// sees here: that took longer than most tests. Playwright turns off the features before them, but of two such lists
// Chromium reads the last alone.
const WITHOUT = [
  'AvoidUnnecessaryBeforeUnloadCheckSync',
  'DestroyProfileOnBrowserClose',
  'HttpsUpgrades',
  'HttpsFirstBalancedModeAutoEnable',
  'LensOverlay',
  'MediaRouter',
  'PaintHolding',
  'ThirdPartyStoragePartitioning',
  'AvoidCorsURLLoaderRestartOnRedirect',
  'OptimizationHints',
  'NetworkTimeServiceQuerying',
  'AimEnabled',
  'PreconnectToSearch',
  'WebUIOmniboxPopup',
  'WebUIOmniboxAimPopup',
  'WebUIOmniboxFullPopup',
]
const FLAGS = [
  `--disable-features=${WITHOUT}`,
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
  '--short-reporting-delay',
]
// Playwright turns the first two off or down. Here is what a Firefox does that nobody has set.
const PREFERENCES = {
  'network.cookie.cookieBehavior': 5, // what third parties keep is kept apart for each site
  'network.http.speculative-parallel-limit': 20, // it connects ahead, as it is asked to
  'media.peerconnection.ice.loopback': true, // the servers of the tests are on this machine
}

// `names` are local ports, by host; `digest` is of the key of a certificate of ours.
async function ofChromium({ executablePath, names, digest, thirdPartyCookies }) {
  const rules = Object.entries(names).map(([name, port]) => `MAP ${name} 127.0.0.1:${port}`)
  const args = [...FLAGS, `--host-resolver-rules=${rules}`]
  // Not all errors: what a certificate with an error came with is never cached.
  if (digest) args.push(`--ignore-certificate-errors-spki-list=${digest}`)
  // As by a setting that many have turned on, and other browsers have by themselves.
  if (!thirdPartyCookies) args.push('--test-third-party-cookie-phaseout')
  const browser = await chromium.launch({ executablePath, headless: true, args })
  return { version: browser.version(), open: (options) => browser.newContext(options), close: () => browser.close() }
}

// What a page is shown in is a matter of preferences here, so each look has a Firefox of its own.
async function ofFirefox({ executablePath, names, digest, preferences }) {
  const proxy = {
    'network.proxy.type': 1,
    'network.proxy.socks': '127.0.0.1',
    'network.proxy.socks_port': await known(names),
    'network.proxy.socks_version': 5,
    'network.proxy.socks5_remote_dns': true,
  }
  const running = new Map()
  const start = (scheme, motion) => {
    const look = {
      'layout.css.prefers-color-scheme.content-override': scheme === 'dark' ? 0 : 1,
      'ui.prefersReducedMotion': motion === 'no-preference' ? 0 : 1,
    }
    const firefoxUserPrefs = { ...PREFERENCES, ...proxy, ...look, ...preferences }
    return firefox.launch({ channel: 'moz-firefox', executablePath, headless: true, firefoxUserPrefs }).then(plain)
  }
  const at = (scheme, motion) => {
    const look = `${scheme} ${motion}`
    if (!running.has(look)) running.set(look, start(scheme, motion))
    return running.get(look)
  }
  const usual = await at('light', 'reduce')
  return {
    version: usual.version(),
    async open({ colorScheme = 'light', reducedMotion = 'reduce', ...options } = {}) {
      const browser = await at(colorScheme, reducedMotion)
      return browser.newContext({ ignoreHTTPSErrors: Boolean(digest), ...options })
    },
    close: async () => Promise.all([...running.values()].map(async (one) => (await one).close())),
  }
}

// Playwright sets the scheme of every profile by a command that Firefox 153 does not have.
function plain(browser) {
  const session = browser._connection.toImpl(browser)._browserSession
  const send = session.send.bind(session)
  session.send = async (method, told) => (method === 'emulation.setMediaFeaturesOverride' ? {} : send(method, told))
  return browser
}

export const launch = (told) => ({ chromium: ofChromium, firefox: ofFirefox })[told.browser](told)
