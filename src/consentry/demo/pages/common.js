// What both pages need: how things are worded, how the feed is read, how elements are made.

const names = new Map();

/** What a page calls each system: as its vendor does, and one of the shop's own by its name. */
export function learn(destinations) {
  for (const { name, title } of destinations) names.set(name, title === "Webhook" ? `Own system (${name})` : title.split(" (")[0]);
}

export const byName = (destination) => names.get(destination) ?? destination;

export const CATEGORIES = { analytics: "Analytics", email: "E-mail marketing", advertising: "Advertising" };

const WHY = {
  denied: "refused",
  never_collected: "no answer yet",
  missing: "not in the event’s consent",
  conflict: "answers disagree",
  stale: "answer is out of date",
  expired: "answer has expired",
  signal: "the browser says no (GPC)",
  unverified: "not proven",
  prohibited: "forbidden by law",
};
const REASONS = {
  suppressed: "This person is on the suppression list",
  destination_disabled: "The destination is switched off",
  preference_update: "A choice is passed on",
  integrations_object: "The event itself leaves this destination out",
  exempt: "Exempt, with a written justification",
  unmapped: "Nobody said what it may be used for",
};
const GRADES = {
  confirmed: "confirmed",
  job_done: "its job succeeded",
  accepted: "accepted",
  sent_unverifiable: "sent, cannot be verified",
  noop: "answered, but did nothing",
  failed_final: "refused for good",
};

/** Why a decision was made, in plain words. */
export function reasonOf(decision) {
  if (decision.decision === "allow" && decision.reason === "consented") {
    return `Allowed for ${list(decision.categories.map((c) => nameOf(c.id)))}`;
  }
  if (decision.reason !== "filtered_by_end_user_consent") return REASONS[decision.reason] ?? decision.reason;
  const order = Object.keys(CATEGORIES);
  const failed = decision.categories
    .filter((c) => c.effective !== "granted")
    .sort((a, b) => order.indexOf(a.id) - order.indexOf(b.id));
  return failed.map((c) => `${nameOf(c.id)}: ${WHY[c.why] ?? c.why}`).join("; ");
}

/** One word for the badge, its look, and the sentence under it, for one event and destination. */
export function standingOf(decision, attempt) {
  if (attempt?.grade === "unsupported") {
    return { badge: "Not taken", look: "wait", text: "Allowed, but it takes no such event" };
  }
  if (attempt?.state === "withheld") {
    const why = attempt.decision ? reasonOf(attempt.decision) : "it was not sent";
    return { badge: "Withheld", look: "no", text: why, more: "Was allowed, asked again before sending" };
  }
  if (decision.decision !== "allow") return { badge: "Withheld", look: "no", text: reasonOf(decision) };
  if (!attempt) return { badge: "Allowed", look: "wait", text: reasonOf(decision), more: "On its way" };
  if (attempt.state === "delivered") {
    return { badge: "Delivered", look: "yes", text: reasonOf(decision), more: `Proof: ${GRADES[attempt.grade] ?? attempt.grade}` };
  }
  if (attempt.state === "waiting") {
    return { badge: "Waiting", look: "wait", text: reasonOf(decision), more: "The destination failed; it will be asked again" };
  }
  return { badge: "Given up", look: "bad", text: GRADES[attempt.grade] ?? attempt.grade };
}

/** Of a category, or of what is sent: `topic:newsletter:email`, and `topic:*:email` for all that goes by e-mail. */
export function nameOf(key) {
  const [kind, topic, channel] = key.split(":");
  if (kind !== "topic") return CATEGORIES[key] ?? key;
  const name = topic === "*" ? "Everything" : topic[0].toUpperCase() + topic.slice(1);
  return `${name} by ${channel === "email" ? "e-mail" : channel}`;
}

export function titleOf(event) {
  if (event.type === "identify") return "Signed in";
  if (event.type === "page") return event.event ? `Page: ${event.event}` : "Page";
  return event.event ?? event.type;
}

function list(words) {
  return words.length < 2 ? words.join("") : `${words.slice(0, -1).join(", ")} and ${words.at(-1)}`;
}

export function timeOf(text) {
  return new Date(text).toLocaleTimeString("en-GB");
}

/** An element; null children are left out, and text is never read as HTML. */
export function make(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== null && value !== undefined) made.setAttribute(name, value);
  }
  made.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return made;
}

export function byId(id) {
  return document.getElementById(id);
}

/** What a page must know of the workspace. */
export async function settingOf() {
  const setting = await ask("/demo/setting");
  learn(setting.destinations);
  return setting;
}

/** Ask our own server. Throws when the answer is no success. */
export async function ask(path, { body, headers = {}, method } = {}) {
  const answer = await fetch(path, {
    method: method ?? (body ? "POST" : "GET"),
    headers: body ? { "Content-Type": "application/json", ...headers } : headers,
    body: body ? JSON.stringify(body) : undefined,
    keepalive: Boolean(body),
    cache: "no-store",
  });
  const said = await answer.json();
  if (!answer.ok) throw new Error(said.message);
  return said;
}

/** Read the feed for ever: recent past first, then live. `onState` hears live | lost. */
export async function follow(onLine, onState) {
  for (;;) {
    try {
      const answer = await fetch("/demo/feed", { cache: "no-store" });
      await readLines(answer, (line) => {
        if (line.kind === "now") onState("live");
        else onLine(line);
      });
    } catch {
      // The server is gone or restarting; the state says so.
    }
    onState("lost");
    await new Promise((resolve) => setTimeout(resolve, 2000));
  }
}

async function readLines(answer, onLine) {
  if (!answer.ok) throw new Error("no feed");
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const lines = (rest + value).split("\n");
    rest = lines.pop();
    for (const line of lines) if (line) onLine(JSON.parse(line));
  }
}

/** Events by message id, with what became of them, from lines in whatever order. */
export class Events {
  constructor() {
    this.events = new Map();
    this.attempts = new Map();
  }

  /** Returns the message id that changed, or null. */
  take(line) {
    if (line.kind === "event") this.events.set(line.messageId, line);
    else if (line.kind === "attempt") this.attempts.set(`${line.messageId} ${line.destination}`, line);
    else return null;
    return this.events.has(line.messageId) ? line.messageId : null;
  }

  /** Per destination: [name, standing]. */
  standings(messageId) {
    return this.events.get(messageId).decisions.map((decision) => {
      const attempt = this.attempts.get(`${messageId} ${decision.destination}`);
      return [decision.destination, standingOf(decision, attempt)];
    });
  }
}

/** What became of an event: systems for which it is the same stand together. */
export function outcomes(standings) {
  const groups = new Map();
  for (const [name, standing] of standings) {
    const key = JSON.stringify(standing);
    if (!groups.has(key)) groups.set(key, [standing, []]);
    groups.get(key)[1].push(name);
  }
  return [...groups.values()].map(([standing, together]) => outcome(together, standing));
}

function outcome(together, standing) {
  const system = (name) => make("span", { "data-destination": name, "data-badge": standing.badge }, byName(name));
  return make(
    "div",
    { class: "outcome", "data-look": standing.look },
    make("dt", {}, ...together.flatMap((name, n) => (n ? [", ", system(name)] : [system(name)]))),
    make(
      "dd",
      {},
      make("span", { class: `badge ${standing.look}` }, standing.badge),
      make("span", {}, make("span", { class: "why" }, standing.text), standing.more ? make("span", { class: "more" }, standing.more) : null),
    ),
  );
}
