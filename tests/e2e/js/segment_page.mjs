// analytics.js from npm, as a page has it that builds its own scripts.
import { AnalyticsBrowser } from '@segment/analytics-next'

window.AnalyticsBrowser = AnalyticsBrowser
