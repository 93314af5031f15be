// The loader's side of the contract (sdk/js/src/types.ts), told by the test what to say. What the
// controls do is written down in `heard`.
{
  const listeners = new Set()
  const { policy, asking, gpc, categories, answered, user } = window.given
  let now = { ...categories }
  let known = answered
  const open = policy.categories.filter((one) => !one.essential && !one.prohibited).map(({ id }) => id)
  window.heard = []
  const tell = () => listeners.forEach((listener) => listener(now))
  const core = {
    policy,
    options: { key: 'wk_page', files: '/' },
    url: (path) => `/v1/${path}`,
    asking: () => (known ? null : { categories: open, ...asking }),
    gpc: () => gpc,
    categories: () => now,
    answered: () => known,
    answer(choice, action, { surface }) {
      window.heard.push(['answer', choice, action, surface])
      now = { ...now, ...choice }
      known ||= surface !== 'placeholder'
      const yes = Object.keys(now).filter((id) => now[id])
      document.cookie = `consentry=v=1&id=device&t=${Math.floor(Date.now() / 1000)}&g=${yes}`
      tell()
    },
    user,
    unsent: {},
    send: ({ subject, topics, channels }) => window.heard.push(['topics', subject, topics ?? channels]),
    once: (element) => window.heard.push(['once', element.id]),
    onChange(listener) {
      listeners.add(listener)
      return () => listeners.delete(listener)
    },
  }
  // Counts go out by a beacon.
  navigator.sendBeacon = (_path, body) => {
    const { what, surface } = JSON.parse(body)
    return !!window.heard.push([what, surface])
  }
  // What another tab or device does.
  window.elsewhere = (choice) => {
    now = { ...now, ...choice }
    known = true
    tell()
  }
  window.violations = []
  addEventListener('securitypolicyviolation', (event) =>
    window.violations.push(`${event.effectiveDirective} ${event.blockedURI}`),
  )
  const started = (ui) => {
    const { show, needs } = window.given
    window.ui = ui
    if (show === 'banner') ui.banner()
    if (show === 'centre') ui.centre()
    if (show === 'placeholder') ui.placeholder(document.querySelector('#video'), needs)
  }
  window.ready = new Promise((ready) => {
    window.consentry = {
      async land(_name, startUi) {
        document.querySelector('#last').toggleAttribute('data-consentry-open', !!window.given.own_link)
        started(await startUi(core))
        ready()
      },
    }
  })
}
