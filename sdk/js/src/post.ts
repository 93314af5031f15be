/** What is told to the server: answers until it has them, counts, and cookies that only it can delete. */
import type { Core } from "./core";
import { cookies } from "./cookie";
import { KEPT, type Letter, post } from "./queue";
import { mind } from "./running";
import type { Surface, Topics } from "./types";
import { sleep } from "./uuid";

const LONGEST_WAIT_MS = 60_000;
const PATIENCE_MS = 5_000;
const REPLY_MS = 10_000; // what gets no reply by then is sent again, and holds up nothing else
const SIGN_IN_MS = 5_000; // since the page began
/** Beyond them the oldest are lost. */
const MOST = 20;
let busy = false;

function places({ unsent }: Core): Record<string, string>[] {
  try {
    return [unsent, localStorage];
  } catch {
    return [unsent];
  }
}

/** What waits, of all tabs, oldest first. */
export function letters(core: Core): Letter[] {
  const found = places(core).flatMap((place) => Object.entries(place));
  return found
    .filter(([name]) => name.startsWith(KEPT))
    .sort()
    .map(([name, body]) => [name, name.split(".")[3]!, body]);
}

/** What proves who is signed in; null where nobody is, or nothing does. */
export async function proof({ user, options }: Core): Promise<Record<string, string> | null> {
  if (!user) return null;
  try {
    const asked = typeof user.token === "function" ? user.token() : user.token;
    const token = await Promise.race([asked, sleep(PATIENCE_MS)]);
    if (token) return { authorization: `Basic ${btoa(`${options.key}:`)}`, "consentry-subject-token": token };
  } catch (error) {
    console.warn("consentry: no subject token", error);
  }
  return null;
}

/**
 * A yes of an account alone is none without its proof, and a page that was just loaded says soon who is signed in.
 * Everything else goes first: no refusal waits for that.
 */
function early({ user }: Core, { subject, topics = {} }: Said): boolean {
  const yes = Object.values(topics).some((by) => Object.values(by).includes(true));
  return yes && !subject.anonymousId && (user ? user.id === subject.userId : performance.now() < SIGN_IN_MS);
}

interface Said {
  subject: { userId?: string; anonymousId?: string };
  topics?: Topics;
}

/** Whether the server has it, or says itself that it will never take it. Others may stand in between, and say anything. */
async function settled(response: Response): Promise<boolean> {
  const { recordId, code } = await response.json();
  const never = !!code && [400, 409, 413].includes(response.status);
  if (never) console.error(`consentry: a choice was answered with ${response.status} ${code}`);
  return never || (response.ok && !!recordId);
}

/** A repetition has the body it had. When it leaves stands beside that, by the clock that the letter was written by. */
const leaving = () => ({ "consentry-sent-at": new Date().toISOString() });

/** What nothing proves is sent as it is: a no counts all the same. */
async function send(core: Core, letter: Letter): Promise<boolean> {
  const url = core.url("consent");
  try {
    const said: Said = JSON.parse(letter[2]);
    const { userId } = said.subject;
    const proven = userId && userId === core.user?.id ? await proof(core) : null;
    if (!proven && early(core, said)) return false;
    const sent = post(url, letter, { ...leaving(), ...proven }).then(async (response) =>
      settled(proven && response.status === 401 ? await post(url, letter, leaving()) : response),
    );
    return await Promise.race([sent, sleep(REPLY_MS).then(() => false)]);
  } catch {
    return false;
  }
}

const own = () => cookies().filter(([name]) => name === "consentry").map(([, value]) => value).join();
const sent = new Set<string>();

/** A cookie in which nothing is granted: the only one that the server ever writes again. */
const REFUSES = /&g=(&|$)/;

/**
 * Before a request; what it returns is called after the reply, which may have brought back an older cookie. One with a
 * yes in it never comes from a reply, however often it was there before: another tab took back what was said since.
 */
function sending(core: Core): () => void {
  core.look();
  if (REFUSES.test(own())) sent.add(own());
  return () => core.keep(sent.has(own()));
}

/** Sends what waits, in order, for as long as it takes. What cannot be sent holds up nothing else. */
export async function flush(core: Core): Promise<void> {
  if (busy) return;
  busy = true;
  try {
    await sendAll(core);
  } finally {
    busy = false;
  }
}

async function sendAll(core: Core): Promise<void> {
  const drop = ([name]: Letter) => places(core).forEach((place) => delete place[name]);
  for (let wait = 1000; letters(core).length; ) {
    letters(core).slice(0, -MOST).forEach(drop);
    for (const letter of letters(core)) {
      const arrived = sending(core);
      if (!(await send(core, letter))) continue;
      drop(letter);
      wait = 1000;
      arrived();
    }
    if (!letters(core).length) break;
    await sleep(wait);
    wait = Math.min(wait * 2, LONGEST_WAIT_MS);
  }
}

/** The server's own cookies of refused tags, which no script can delete; they may have a path of this page. */
export async function expire(core: Core): Promise<void> {
  const now = core.categories();
  const categories = Object.keys(now).filter((id) => !now[id]);
  const body = JSON.stringify({ writeKey: core.options.key, categories, path: location.pathname });
  const arrived = sending(core);
  await fetch(core.url("consent/cookies"), { method: "POST", body, keepalive: true, credentials: "include" }).catch(() => {});
  arrived();
}

/**
 * As long as something is refused its cookie is made to last. Some browsers forget within a week what
 * a script wrote, so the server writes it where it can: on its own name, where nothing is granted.
 */
function renew(core: Core): void {
  if (new URL(core.url("")).origin !== location.origin || !REFUSES.test(own())) return core.keep();
  const today = String(Math.floor(Date.now() / 86_400_000));
  try {
    if (localStorage["consentry.renewed"] === today) return;
    localStorage["consentry.renewed"] = today;
  } catch {
    // Then it is asked for once a page.
  }
  void expire(core);
}

/**
 * A count, nothing more: that something was shown, or closed without an answer. Whom the browser
 * knows already is named, so that an opt-out signal is kept with who sends it.
 */
export function noted({ policy, url, options, id }: Core, what: string, surface?: Surface): void {
  const { notice, language } = policy!;
  const known = options.anonymousId || cookies().some(([name]) => /^(consentry|ajs_anonymous_id)$/.test(name));
  const seen = { what, surface, noticeId: notice.id, noticeVersion: notice.version, language };
  const body = { writeKey: options.key, ...seen, anonymousId: known ? id : undefined };
  navigator.sendBeacon?.(url("notices/noted"), JSON.stringify(body));
}

/** Whose requests carry the signal is told with the proof of who that is: then it holds for the account too. */
export async function signalled(core: Core): Promise<void> {
  const headers = await proof(core);
  if (!core.gpc() || !headers) return;
  const body = JSON.stringify({ writeKey: core.options.key, what: "signal", anonymousId: core.id });
  await fetch(core.url("notices/noted"), { method: "POST", body, headers }).catch(() => {});
}

/** What a page does for somebody who has answered. `seen`: the browser's signal is new here, and is told. */
export function begin(core: Core, seen: boolean): void {
  void flush(core);
  mind(core);
  if (seen) noted(core, "signal");
  if (Object.values(core.categories()).includes(false)) renew(core);
}
