// Calls of @rudderstack/rudder-sdk-node, as told on stdin; prints the errors it reported.
import { readFileSync } from 'node:fs'
import Analytics from '@rudderstack/rudder-sdk-node'

const { host, writeKey, calls, options } = JSON.parse(readFileSync(0, 'utf8'))
const Client = Analytics.default ?? Analytics
const errors = []
const client = new Client(writeKey, {
  dataPlaneUrl: host,
  flushInterval: 100,
  logLevel: 'none',
  errorHandler: (error) => errors.push(String(error.message ?? error)),
  ...options,
})
await Promise.all(
  calls.map(({ type, ...message }) => new Promise((done) => client[type](message, done))).concat(
    client.flush(),
  ),
)
console.log(JSON.stringify({ errors }))
