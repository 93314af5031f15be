// The loader's side of the contract (sdk/js/src/types.ts), told by the test what to say. What the
// controls do is written down in `heard`.
{
  const listeners = new Set()
  const { policy, asking, gpc, categories, answered } = window.given
  let now = { ...categories }
  let known = answered
  window.heard = []
  const tell = () => listeners.forEach((listener) => listener(now))
  const controller = {
    policy,
    asking,
    gpc,
    categories: () => now,
    answered: () => known,
    async answer(choice, action, surface) {
      window.heard.push(['answer', choice, action, surface])
      now = { ...now, ...choice }
      known ||= surface !== 'form'
      tell()
    },
    once: (element) => window.heard.push(['once', element.id]),
    noted: (what, surface) => window.heard.push([what, surface]),
    onChange(listener) {
      listeners.add(listener)
      return () => listeners.delete(listener)
    },
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
  window.consentry = {
    mount(mount) {
      document.querySelector('#last').toggleAttribute('data-consentry-open', !!window.given.own_link)
      window.ui = mount(controller)
      const { show } = window.given
      if (show === 'banner') window.ui.banner()
      if (show === 'centre') window.ui.centre()
      if (show === 'placeholder') window.ui.placeholder(document.querySelector('#video'), window.given.needs)
    },
  }
}
