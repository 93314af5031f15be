/**
 * What the same person decides on other devices, as it happens.
 *
 * EventSource cannot send the headers that prove an account, and a URL may not hold them.
 */
import type { Core } from "./core";
import { proof } from "./post";
import { sleep } from "./uuid";

const LONGEST_WAIT_MS = 30_000;

interface Preference {
  effective: string;
  why: string | null;
}

/** Ends when somebody else is signed in. `refused` gets the ids that were denied by somebody. */
export async function follow(core: Core, refused: (ids: string[]) => void): Promise<void> {
  const { user } = core;
  for (let wait = 500; user && core.user === user; wait = Math.min(wait * 2, LONGEST_WAIT_MS)) {
    try {
      const response = await fetch(core.url("stream"), { headers: (await proof(core))! });
      const reader = response.ok && response.body?.pipeThrough(new TextDecoderStream()).getReader();
      let text = "";
      while (reader && core.user === user) {
        const { value, done } = await reader.read();
        if (done) break;
        wait = 500;
        const events = (text + value).split("\n\n");
        text = events.pop()!;
        for (const event of events) take(event, refused);
      }
      if (reader) await reader.cancel();
    } catch {
      // Asked again below.
    }
    await sleep(wait);
  }
}

function take(event: string, refused: (ids: string[]) => void): void {
  const lines = event.split("\n");
  if (!lines.includes("event: preferences")) return;
  const data = lines.filter((line) => line.startsWith("data:")).map((line) => line.slice(5)).join("\n");
  const found = JSON.parse(data);
  const preferences: Record<string, Preference> = found.preferences ?? found;
  refused(
    Object.keys(preferences).filter((id) => {
      const { effective, why } = preferences[id]!;
      return effective === "denied" && ["denied", "conflict", "signal", "prohibited"].includes(why ?? "");
    }),
  );
}
