// The timeline: a choice, and what every system was told of it, what it answered, and how far that
// can be believed. Lines of the feed come in, rows go out; nothing is asked for.

import { byName, make, timeOf } from "./common.js";

const ACTIONS = { accept_all: "Accepted all", reject_all: "Refused all", save: "Chose", withdraw: "Withdrew" };
const TYPES = { identify: "Device linked to an account", signal: "Browser signal (GPC)", alias: "Accounts joined", expired: "A yes no longer holds" };
const KEPT = 20; // choices

const TOLD = {
  suppress: "Stop using this person",
  erase: "Forget this person",
  grant: "This person may be used again",
  gate: "Nothing: it is only our gate that closed",
};

// Badge and look of each grade; the words below say how far it can be believed.
const GRADES = {
  confirmed: ["Confirmed", "yes"],
  job_done: ["Job done", "yes"],
  accepted: ["Accepted", "wait"],
  sent_unverifiable: ["Cannot be verified", "no"],
  gated: ["Our own gate", "no"],
  noop: ["Nothing happened", "wait"],
  failed_final: ["Refused for good", "bad"],
};

/** How far an answer can be believed, in plain words. */
export function beliefOf(order, system) {
  if (order.drift) return "Asked again, it held something else. It is told once more.";
  if (order.state === "superseded") return order.supersededBy ? "Not sent: a later choice says it." : "Not sent: it was no longer so.";
  if (order.state !== "terminal") return waitingOf(order);
  if (order.why) return sentence(order.why);
  const again = order.asked.length > 0;
  switch (order.grade) {
    case "confirmed":
      return again ? "Fully: asked again what it holds, it said just that." : "Its word: it says itself that it is done.";
    case "job_done":
      return "Well: the job that it made of the order reports success.";
    case "accepted":
      return `It took the order, and that is all that is known. ${system?.readsBack ? "It is asked again after a minute." : "It cannot be asked."}`;
    case "sent_unverifiable":
      return "Not at all: its answer is the same whether it did anything or not.";
    case "gated":
      return order.verb === "grant" ? "It was not told, so that nobody is written to unasked." : "Of us: nothing more is sent. What it holds already, it holds.";
    case "noop":
      return order.verb === "grant" ? "Its word: there was nothing to lift." : "Its word: it knows no such person, so there was nothing to stop.";
    default:
      return "It was not done. Somebody has to look.";
  }
}

function waitingOf(order) {
  if (!order.tries) return "Not tried yet.";
  const times = order.tries === 1 ? "once" : `${order.tries} times`;
  return `Tried ${times}. It waits, and is tried again by itself at ${timeOf(order.nextAt)}.`;
}

function badgeOf(order) {
  if (order.drift) return ["Drift", "bad"];
  if (order.state === "superseded") return ["Left out", "wait"];
  if (order.state !== "terminal") return order.tries ? ["No answer yet", "bad"] : ["Being told", "wait"];
  return GRADES[order.grade] ?? [order.grade, "bad"];
}

function toldOf(order) {
  const about = order.topics.map(({ topic, channel }) => `the ${topic} by ${channel === "email" ? "e-mail" : channel}`).join(", ");
  if (about && order.verb === "suppress") return `Stop ${about}`;
  if (about && order.verb === "grant") return `Send ${about}`;
  if (order.grade === "gated" && order.verb !== "gate") return "Nothing: it has no call for it";
  return TOLD[order.verb];
}

const sentence = (text) => `${text[0].toUpperCase()}${text.slice(1)}.`;

/** Orders that are shown: a gate says nothing where the system itself was told of the same. */
function shownOf(orders) {
  const about = (order) => JSON.stringify(order.topics);
  const alone = (gate) => !orders.some((o) => o.verb !== "gate" && about(o) === about(gate));
  const shown = orders.filter((order) => order.verb !== "gate" || alone(order));
  // Where the gate is all there is, once is enough, whatever it is about.
  return shown.every((o) => o.verb === "gate") ? shown.slice(0, 1) : shown;
}

export const isOpen = (order) => order.state === "waiting" || order.state === "sending";

/** Choices by record, with their orders by system; in whatever order the lines come. */
export class Choices {
  constructor() {
    this.choices = new Map();
    this.orders = new Map();
  }

  /** Returns the record id of the choice that changed, or null. */
  take(line) {
    if (line.kind === "choice") {
      if (!Object.keys(line.subject).length || (line.type !== "choice" && !line.orders.length)) return null;
      this.choices.set(line.recordId, line);
      line.orders.forEach((order) => this.#keep(order));
      return line.recordId;
    }
    if (line.kind !== "order" || !line.told) return null;
    this.#keep(line);
    return this.choices.has(line.recordId) ? line.recordId : null;
  }

  #keep(order) {
    if (!this.orders.has(order.recordId)) this.orders.set(order.recordId, new Map());
    this.orders.get(order.recordId).set(order.orderId, order);
  }

  /** Per system, in the order of the configuration: [system, its orders]. */
  of(recordId, systems) {
    const all = [...(this.orders.get(recordId)?.values() ?? [])];
    return systems
      .map((system) => [system, shownOf(all.filter((order) => order.destination === system.name))])
      .filter(([, orders]) => orders.length);
  }

  /** Everything that a system is still to be told. */
  open(name) {
    return [...this.orders.values()].flatMap((orders) => [...orders.values()]).filter((o) => o.destination === name && isOpen(o));
  }
}

/** `brief`: without what went over the wire. `keeps` says whose choices are shown. */
export class Timeline {
  constructor(list, systems, { brief = false, keeps = () => true, most = KEPT } = {}) {
    Object.assign(this, { list, systems, brief, keeps, most });
    this.known = new Choices();
    this.items = new Map();
  }

  /** Returns whether something is shown that was not. */
  take(line) {
    const id = this.known.take(line);
    const choice = this.known.choices.get(id);
    if (!choice || !this.keeps(choice)) return false;
    if (!this.items.has(id)) this.#add(id, choice);
    this.#update(id, line.kind === "order" ? line.destination : null);
    return true;
  }

  #add(id, choice) {
    const item = make("li", { class: "choice", "data-record": id, "data-action": choice.action });
    item.dataset.at = choice.clickedAt;
    item.dataset.about = aboutMessages(choice) ? "messages" : "categories";
    const rows = make("ol", { class: "told" });
    const summary = make("summary", {}, make("span", { class: "chose" }), make("span", { class: "sum" }));
    const details = make("details", {}, summary, rows);
    item.append(details);
    const older = [...this.list.children].find((child) => child.dataset.at < choice.clickedAt);
    this.list.insertBefore(item, older ?? null);
    this.items.set(id, item);
    // To withdraw all is two choices: what is said of messages does not fold what was said of everything else.
    const items = [...this.list.children];
    const last = Math.max(items.findIndex((child) => child.dataset.about === "categories"), 0);
    items.forEach((child, n) => { child.firstElementChild.open = n <= last; });
    while (this.list.children.length > this.most) this.list.lastElementChild.remove();
    summary.firstElementChild.append(
      make("strong", {}, titleOf(choice)), " ",
      make("span", { class: "who" }, whoOf(choice)), " ",
      make("time", { datetime: choice.clickedAt }, exactly(choice.clickedAt)),
    );
  }

  #update(id, only) {
    const item = this.items.get(id);
    const found = this.known.of(id, this.systems);
    item.querySelector(".sum").textContent = sumOf(found);
    const rows = item.querySelector(".told");
    for (const [system, orders] of found) {
      if (only && system.name !== only) continue;
      put(rows, this.#row(system, orders), system.name, this.systems);
    }
  }

  #row(system, orders) {
    return make("li", { "data-destination": system.name }, make("span", { class: "system" }, byName(system.name)),
      ...orders.map((order) => this.#answer(system, order)));
  }

  #answer(system, order) {
    const [badge, look] = badgeOf(order);
    const after = order.afterMs === null ? "" : `${order.afterMs.toLocaleString("en-GB")} ms`;
    const wire = this.brief ? null : wireOf(order);
    return make(
      "div",
      { class: "answer", "data-grade": order.grade, "data-state": order.state, "data-verb": order.verb },
      make("dl", {},
        make("div", { class: "order" }, make("dt", {}, "It was told"), make("dd", {}, toldOf(order))),
        make("div", { class: "grade" }, make("dt", {}, "It answered"), make("dd", {}, make("span", { class: `badge ${look}` }, badge), saidOf(order))),
        make("div", { class: "after" }, make("dt", {}, "After the click"), make("dd", {}, after)),
        make("div", { class: "belief" }, make("dt", {}, "How far to believe it"), make("dd", {}, beliefOf(order, system))),
      ),
      wire,
    );
  }
}

/** Replace a system's row where it stands; what was open and focused stays so. */
function put(rows, row, name, systems) {
  const old = [...rows.children].find((child) => child.dataset.destination === name);
  if (!old) {
    const place = systems.findIndex((system) => system.name === name);
    const next = [...rows.children].find((child) => systems.findIndex((s) => s.name === child.dataset.destination) > place);
    rows.insertBefore(row, next ?? null);
    return;
  }
  const [before, after] = [old, row].map((one) => [...one.querySelectorAll("details")]);
  const focused = before.findIndex((details) => details.contains(document.activeElement));
  before.forEach((details, n) => { if (after[n]) after[n].open = details.open; });
  old.replaceWith(row);
  after[focused]?.querySelector("summary").focus();
}

function saidOf(order) {
  const said = [order.detail, order.state === "terminal" && order.tries > 1 ? `at try ${order.tries}` : ""].filter(Boolean);
  return said.length ? make("span", { class: "more" }, said.join(", ")) : null;
}

function wireOf(order) {
  const parts = [...order.told.map((one) => exchangeOf(one, "It was told")), ...order.asked.map((one) => exchangeOf(one, "It was asked"))];
  if (!parts.length) return null;
  const sent = order.told.length + order.asked.length;
  return make("details", { class: "wire" }, make("summary", {}, sent === 1 ? "Request and answer" : `${sent} requests and answers`), ...parts.flat());
}

function exchangeOf(one, said) {
  return [
    make("p", {}, `${said}: `, make("code", {}, `${one.method} ${one.path}`)),
    one.body === null ? null : block(one.body),
    make("p", {}, one.failure ? `It gave no answer: ${one.failure}` : `It answered ${one.status}`),
    one.answer === null ? null : block(one.answer),
  ].filter(Boolean);
}

const block = (content) => make("pre", { tabindex: "0" }, typeof content === "string" ? content : JSON.stringify(content, null, 2));

function aboutMessages({ after }) {
  const keys = Object.keys(after ?? {});
  return keys.length > 0 && keys.every((key) => key.startsWith("topic:"));
}

function titleOf(choice) {
  const title = TYPES[choice.type] ?? ACTIONS[choice.action] ?? "A choice";
  return aboutMessages(choice) ? `${title}, about messages` : title;
}

function whoOf({ subject }) {
  return subject.userId ?? (subject.anonymousId ? `visitor ${subject.anonymousId.slice(0, 8)}` : "");
}

/** To the millisecond: what follows is measured from it. */
function exactly(text) {
  return `${timeOf(text)}.${text.slice(20, 23).padEnd(3, "0")}`;
}

function sumOf(found) {
  const orders = found.map(([, mine]) => mine);
  if (!orders.length) return "Nobody has to be told.";
  const open = orders.filter((mine) => mine.some(isOpen)).length;
  const slowest = Math.max(...orders.flat().map((order) => order.afterMs ?? 0));
  const systems = orders.length === 1 ? "1 system" : `${orders.length} systems`;
  if (open) return `${systems}, ${open} still to answer`;
  if (orders.flat().every((order) => order.verb === "gate")) return `${systems}: our own gate, and no further`;
  return `${systems}, all dealt with after ${slowest.toLocaleString("en-GB")} ms`;
}
