// A SOCKS server (RFC 1928) that knows a few names and no others: Firefox has no rules for single hosts, and this way
// nothing that it does of its own accord leaves this machine.
import { connect, createServer } from 'node:net'

const NO_PASSWORD = Buffer.from([5, 0])
const [GRANTED, REFUSED] = [0, 2].map((code) => Buffer.from([5, code, 0, 1, 0, 0, 0, 0, 0, 0]))
const BY_NAME = 3

function portOf(names, asked) {
  if (asked[3] !== BY_NAME) return undefined
  const end = 5 + asked[4]
  const host = asked.toString('utf8', 5, end)
  return names[`${host}:${asked.readUInt16BE(end)}`] ?? names[host.replace(/^.*\./, '*.')]
}

// Who speaks SOCKS waits for each answer, so that one part that arrives is one message.
function serve(client, names) {
  client.on('error', () => client.destroy())
  client.once('data', () => {
    client.write(NO_PASSWORD)
    client.once('data', (asked) => {
      const port = portOf(names, asked)
      if (!port) return client.end(REFUSED)
      const server = connect(port, '127.0.0.1')
      server.on('error', () => client.destroy())
      client.on('close', () => server.destroy())
      client.write(GRANTED)
      server.pipe(client).pipe(server)
    })
  })
}

// `names`: the local port of each `host:port`, or `*.domain`. The port that the server listens at.
export const known = (names) =>
  new Promise((settle) => {
    const server = createServer((client) => serve(client, names)).unref()
    server.listen(0, '127.0.0.1', () => settle(server.address().port))
  })
