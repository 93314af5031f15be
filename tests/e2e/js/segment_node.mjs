// Calls of @segment/analytics-node, as told on stdin; prints what its events said.
import { readFileSync } from 'node:fs'
import { Analytics } from '@segment/analytics-node'

const { host, writeKey, calls, options } = JSON.parse(readFileSync(0, 'utf8'))
const analytics = new Analytics({ host, writeKey, flushInterval: 100, ...options })
const errors = []
const statuses = []
analytics.on('error', (error) => errors.push(error.code))
analytics.on('http_response', (response) => statuses.push(response.status))
for (const { type, ...message } of calls) analytics[type](message)
await analytics.closeAndFlush({ timeout: 30000 })
console.log(JSON.stringify({ errors, statuses }))
