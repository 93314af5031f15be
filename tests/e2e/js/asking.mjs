// Answers cases about asking, and about the cookie, with the code that pages run: JSON on stdin,
// JSON on stdout.
import { readFileSync } from 'node:fs'
import { build } from 'esbuild'

const { root, now, cases, cookies } = JSON.parse(readFileSync(0, 'utf8'))
const made = await build({
  stdin: {
    contents: 'export * from "./ask"; export * from "./cookie"; export * from "./signals"',
    resolveDir: `${root}/sdk/js/src`,
    loader: 'ts',
  },
  bundle: true,
  write: false,
  format: 'esm',
  logLevel: 'silent',
})
const { asking, inForce, parse, readAnswer, serialise, wordsFor } = await import(
  `data:text/javascript;base64,${Buffer.from(made.outputFiles[0].contents).toString('base64')}`
)
const told = cases.map(({ policy, cookies, gpc, against }) => {
  globalThis.document = { cookie: cookies.map((text) => `consentry=${text}`).join('; ') }
  const answer = readAnswer(now)
  const categories = inForce(policy, answer, gpc, now, against)
  return { asking: asking(policy, answer, now), categories, words: wordsFor(categories) }
})
const read = cookies.map((text) => {
  const answer = parse(text, now)
  return answer && { ...answer, again: serialise(answer) }
})
console.log(JSON.stringify({ told, read }))
