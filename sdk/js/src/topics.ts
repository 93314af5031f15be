/**
 * What a person is sent, and by which channels. It belongs to the account: a device does not prove who
 * reads the mail, and somebody else may sit before it. So it is read and said with the proof of who is
 * signed in, and of nobody else.
 */
import type { Core } from "./core";
import { letters, proof } from "./post";
import type { Action, Evidence, Topics } from "./types";

interface Said {
  subject: { userId?: string };
  topics?: Topics;
  /** Those refused as a whole. */
  channels?: Record<string, boolean>;
}

interface Preference {
  effective: string;
}

/** What holds, and over it what was said here and is still on its way; null where it cannot be known. */
export async function heldTopics(core: Core): Promise<Topics | null> {
  const { policy, user } = core;
  if (!user || !policy!.topics.length) return null;
  try {
    const headers = { "content-type": "application/json", ...(await proof(core)) };
    const body = JSON.stringify({ subject: { userId: user.id } });
    const response = await fetch(core.url("subjects/lookup"), { method: "POST", headers, body });
    if (!response.ok) return null;
    const found: Record<string, Record<string, Preference>> = (await response.json()).topics;
    const held: Topics = {};
    for (const { id, channels } of policy!.topics)
      held[id] = Object.fromEntries(channels.map((name) => [name, found[id]?.[name]?.effective === "granted"]));
    for (const [, , letter] of letters(core)) {
      const { subject, topics = {}, channels = {} }: Said = JSON.parse(letter);
      if (subject.userId !== user.id) continue;
      for (const id in topics) held[id] = { ...held[id], ...topics[id] };
      for (const by of Object.values(held)) for (const name in channels) if (name in by) by[name] = false;
    }
    return held;
  } catch {
    return null; // nothing is shown that is not known
  }
}

/** The evidence is that of the answer to the categories, which was given by the same press. */
export function sendTopics(core: Core, userId: string, topics: Topics, action: Action, evidence: Evidence): void {
  core.send({ subject: { userId }, preferences: {}, topics }, action, evidence);
}

/** No topic by this channel any more, also none that is added later. */
export function sendChannel(core: Core, userId: string, channel: string, evidence: Evidence): void {
  core.send({ subject: { userId }, preferences: {}, channels: { [channel]: false } }, "withdraw", evidence);
}
