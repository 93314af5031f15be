/**
 * What the same person decides on other devices, as it happens.
 *
 * EventSource cannot send the headers that prove an account, and a URL may not hold them.
 */
import { readAnswer } from "./cookie";
import type { Core } from "./core";
import { letters, proof, signalled } from "./post";
import { sleep } from "./uuid";

const LONGEST_WAIT_MS = 30_000;
/** The server speaks every 15 s. Who is silent for longer is gone, and may not know it. */
const SILENCE_MS = 37_500;
/** How long a yes of one's own may take to reach the server, and to come back from it. */
const ON_ITS_WAY_S = 60;
const JUST_NOW_S = 5;

interface Preference {
  state: string;
  effective: string;
  why: string | null;
  at?: string;
}

let heard = 0;
let wake = () => {};
function look(): void {
  if (!document.hidden && Date.now() - heard > SILENCE_MS / 2) wake();
}
for (const event of ["online", "pageshow", "visibilitychange"]) addEventListener(event, look);

/** Ends when somebody else is signed in. */
export async function follow(core: Core): Promise<void> {
  const { user } = core;
  const take = taking(core);
  void signalled(core);
  for (let wait = 500; user && core.user === user; wait = Math.min(wait * 2, LONGEST_WAIT_MS)) {
    const stop = new AbortController();
    const woken = new Promise<void>((resolve) => (wake = resolve));
    void woken.then(() => stop.abort());
    try {
      const response = await fetch(core.url("stream"), { headers: (await proof(core)) ?? {}, signal: stop.signal });
      const reader = response.ok && response.body?.pipeThrough(new TextDecoderStream()).getReader();
      let text = "";
      while (reader && core.user === user) {
        const silent = setTimeout(() => stop.abort(), SILENCE_MS);
        heard = Date.now();
        const { value, done } = await reader.read().finally(() => clearTimeout(silent));
        if (done) break;
        wait = 500;
        const events = (text + value).split("\n\n");
        text = events.pop()!;
        events.forEach(take);
      }
      if (reader) await reader.cancel();
    } catch {
      // Asked again below.
    }
    await Promise.race([sleep(wait), woken]);
  }
}

/** Whether it was granted here so lately, and after that denial, that the server may not have said yet that it knows. */
function overtaken(core: Core, id: string, { at = "" }: Preference): boolean {
  const now = Date.now() / 1000;
  const answer = readAnswer(now);
  if (!answer?._granted.includes(id) || Date.parse(at) >= answer._at * 1000) return false;
  return now - answer._at < (letters(core).length ? ON_ITS_WAY_S : JUST_NOW_S);
}

/** These are refused on another device. */
function refuse(core: Core, ids: string[]): void {
  core.look();
  core.against = ids;
  // What silence grants here would come back with the next page, before the server has said it again.
  const now = core.categories();
  const lost = ids.filter((id) => now[id] || readAnswer(Date.now() / 1000)?._granted.includes(id));
  if (lost[0]) core.deny(lost);
  core.enforce();
}

/** What takes one event. A denial that a yes of one's own may have overtaken is looked at again in a moment. */
function taking(core: Core): (event: string) => void {
  const { user } = core;
  let latest: [string, Preference][] = [];
  let later = 0;
  const act = () => {
    if (core.user !== user) return;
    const now = latest.filter(([id, denial]) => !overtaken(core, id, denial));
    refuse(core, now.map(([id]) => id));
    clearTimeout(later);
    if (now.length < latest.length) later = setTimeout(act, 1000);
  };
  return (event) => {
    const found = preferencesIn(event);
    if (!found) return;
    latest = Object.entries(found).filter(([, { state, effective, why }]) => {
      return effective === "denied" && ["denied", "conflict", "signal", "prohibited"].some((one) => one === state || one === why);
    });
    act();
  };
}

function preferencesIn(event: string): Record<string, Preference> | null {
  const lines = event.split("\n");
  if (!lines.includes("event: preferences")) return null;
  const data = lines.filter((line) => line.startsWith("data:")).map((line) => line.slice(5)).join("\n");
  const found = JSON.parse(data);
  return found.preferences ?? found;
}
