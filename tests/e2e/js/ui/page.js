// The loader's side of the contract (sdk/js/src/types.ts), told by the test what to say. What the
// controls do is written down in `heard`.
{
  const listeners = new Set()
  const { policy, asking, gpc, categories, answered, user } = window.given
  let now = { ...categories }
  let known = answered
  window.heard = []
  const tell = () => listeners.forEach((listener) => listener(now))
  const core = {
    policy,
    options: { key: 'wk_page', files: '/' },
    url: (path) => `/v1/${path}`,
    asking: () => (known ? null : asking),
    gpc: () => gpc,
    categories: () => now,
    answered: () => known,
    answer(choice, action, surface) {
      window.heard.push(['answer', choice, action, surface])
      now = { ...now, ...choice }
      known ||= surface !== 'form'
      core.queue.letters.push(['key', '{}', false])
      tell()
    },
    user,
    queue: {
      letters: [],
      keep(letters) {
        const [, body, account] = letters[letters.length - 1]
        const { subject, topics } = JSON.parse(body)
        window.heard.push(['topics', subject, topics, account])
      },
    },
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
      async mount(_mount, startUi) {
        document.querySelector('#last').toggleAttribute('data-consentry-open', !!window.given.own_link)
        started(await startUi(core))
        ready()
      },
    }
  })
}
