/** What is told to the server: answers until it has them, counts, and cookies that only it can delete. */
import type { Core } from "./core";
import type { Letter } from "./queue";
import type { Surface } from "./types";
import { sleep } from "./uuid";

const LONGEST_WAIT_MS = 60_000;
const SIGN_IN_MS = 5000; // since the page began
let busy = false;

/** What proves who is signed in; null where nobody is. */
export async function proof({ user, options }: Core): Promise<Record<string, string> | null> {
  if (!user) return null;
  const token = typeof user.token === "function" ? await user.token() : user.token;
  return { authorization: `Basic ${btoa(`${options.key}:`)}`, "consentry-subject-token": token };
}

/**
 * A yes of an account alone is none without its proof, and a page that was just loaded says soon who is signed in.
 * Everything else goes first: no refusal waits for that.
 */
function early({ user }: Core, [, body]: Letter): boolean {
  const { subject, topics = {} } = JSON.parse(body);
  const yes = Object.values<Record<string, boolean>>(topics).some((by) => Object.values(by).includes(true));
  return !user && yes && !subject.anonymousId && performance.now() < SIGN_IN_MS;
}

/** Whether the server has it, or will never take it. */
async function send(core: Core, [key, body, account]: Letter): Promise<boolean> {
  try {
    const more = account && (await proof(core));
    const headers = { "content-type": "application/json", "idempotency-key": key, ...more };
    const { status } = await fetch(core.url("consent"), { method: "POST", body, keepalive: true, headers });
    if (status >= 400) console.error(`consentry: a choice was answered with ${status}`);
    return status < 500 && ![401, 408, 429].includes(status);
  } catch {
    return false;
  }
}

/** Sends what waits, in order, for as long as it takes; but see `early`. */
export async function flush(core: Core): Promise<void> {
  if (busy) return;
  busy = true;
  for (let wait = 1000; core.queue.letters.length; ) {
    const next = core.queue.letters.find((letter) => !early(core, letter));
    if (!next) {
      await sleep(100);
    } else if (await send(core, next)) {
      core.queue.keep(core.queue.letters.filter((other) => other !== next));
    } else {
      await sleep(wait);
      wait = Math.min(wait * 2, LONGEST_WAIT_MS);
    }
  }
  busy = false;
}

/** The server's own cookies of refused tags, which no script can delete. */
export function expire(core: Core, categories: string[]): void {
  const body = JSON.stringify({ writeKey: core.options.key, categories });
  fetch(core.url("consent/cookies"), { method: "POST", body, keepalive: true, credentials: "include" }).catch(() => {});
}

/** A count, nothing more: that something was shown, or closed without an answer. */
export function noted({ policy, url, options }: Core, what: string, surface: Surface): void {
  const { notice, language } = policy!;
  const seen = { what, surface, noticeId: notice.id, noticeVersion: notice.version, language };
  navigator.sendBeacon?.(url("notices/noted"), JSON.stringify({ writeKey: options.key, ...seen }));
}
