// RudderStack's browser SDK from npm, as a page has it that builds its own scripts.
import { RudderAnalytics } from '@rudderstack/analytics-js/bundled'

window.RudderAnalytics = RudderAnalytics
