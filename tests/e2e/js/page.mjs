// A page with analytics.js from npm, its consent wrapper, and the smallest possible banner.
import { AnalyticsBrowser } from '@segment/analytics-next'
import { createWrapper } from '@segment/analytics-consent-tools'

const listeners = []
const banner = {
  categories: {},
  choose(categories) {
    banner.categories = categories
    for (const listener of listeners) listener(categories)
  },
}

const wrapped = (model) =>
  createWrapper({
    getCategories: () => banner.categories,
    registerOnConsentChanged: (listener) => listeners.push(listener),
    shouldLoadSegment: async (context) => {
      context.load({ consentModel: model })
    },
  })

window.shop = {
  failures: [],
  // model: 'opt-in', 'opt-out', or null for a page without a wrapper.
  async start({ writeKey, cdnURL, model, categories, segment }) {
    banner.categories = categories
    const analytics = new AnalyticsBrowser()
    if (model) wrapped(model)(analytics)
    analytics.load({ writeKey, cdnURL }, { integrations: { 'Segment.io': segment ?? {} } })
    analytics.on('error', (error) => window.shop.failures.push(error.code))
    await analytics.ready()
    window.shop.analytics = analytics
    return (await analytics.user()).anonymousId()
  },
  // Resolves when the SDK has handed the event over, or queued it for another try.
  async call(type, ...args) {
    const context = await window.shop.analytics[type](...args)
    return context?.event?.messageId ?? null
  },
  callAtOnce(calls) {
    for (const [type, ...args] of calls) void window.shop.analytics[type](...args)
  },
  async fetch(url, init) {
    try {
      return (await fetch(url, init)).status
    } catch {
      return 'blocked'
    }
  },
  choose: (categories) => banner.choose(categories),
}
