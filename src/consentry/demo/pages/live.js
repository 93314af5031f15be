// The live view: reads the feed, and asks the stand-ins and the ledger when something happened.

import { CATEGORIES, Events, ask, byId, byName, follow, make, nameOf, outcomes, settingOf, timeOf, titleOf } from "./common.js";
import { Timeline } from "./timeline.js";

const SHOWN = 8; // rows, until older ones are asked for
const KEPT = 100; // rows
const LISTED = 4; // per system
const setting = await settingOf();
const events = new Events();
const told = new Timeline(byId("told"), setting.destinations);
const items = new Map(); // id -> element
const visitors = new Map(); // anonymousId -> label

// -- what happens --------------------------------------------------------------------------------
function take(line) {
  if (told.take(line)) byId("told-empty").hidden = true;
  if (line.kind === "system") stopped.set(line.destination, line.until);
  if (line.kind === "choice") takeChoice(line);
  else {
    const changed = events.take(line);
    if (changed) {
      meet(events.events.get(changed).subject);
      put(changed, events.events.get(changed).receivedAt, eventItem(changed));
    }
  }
  showSystems();
  soon();
}

function takeChoice(line) {
  if (!Object.keys(line.subject).length) return; // of the configuration
  meet(line.subject);
  put(line.recordId, line.receivedAt, choiceItem(line));
}

/** In its place by time, newest first; replaced where it was there already. */
function put(id, at, item) {
  item.dataset.at = at;
  const list = byId("events");
  const old = items.get(id);
  if (old) old.replaceWith(item);
  else {
    const older = [...list.children].find((child) => child.dataset.at < at);
    list.insertBefore(item, older ?? null);
  }
  items.set(id, item);
  while (list.children.length > KEPT) list.lastElementChild.remove();
  fold();
  byId("events-empty").hidden = true;
}

/** The latest rows; the older ones on request, so that what was received stays in sight. */
function fold() {
  const open = byId("older").getAttribute("aria-expanded") === "true";
  const rows = [...byId("events").children];
  rows.forEach((row, n) => { row.hidden = !open && n >= SHOWN; });
  byId("older").hidden = rows.length <= SHOWN;
  byId("older").textContent = open ? "Show the latest only" : `Show ${rows.length - SHOWN} older`;
}

function eventItem(messageId) {
  const event = events.events.get(messageId);
  return make(
    "li",
    { class: "event", "data-event": event.event ?? event.type },
    make("div", { class: "what" }, make("strong", {}, titleOf(event)), make("span", { class: "who" }, whoOf(event)), make("time", { datetime: event.receivedAt }, timeOf(event.receivedAt))),
    make("dl", {}, ...outcomes(events.standings(messageId))),
  );
}

function choiceItem(line) {
  return make(
    "li",
    { class: "event choice-made" },
    make("div", { class: "what" }, make("strong", {}, choiceTitle(line)), make("span", { class: "who" }, whoOf(line)), make("time", { datetime: line.receivedAt }, timeOf(line.receivedAt))),
    make("p", { class: "changes" }, ...changesOf(line)),
  );
}

function choiceTitle(line) {
  return { identify: "Device linked to an account", signal: "Browser signal", alias: "Accounts joined" }[line.type] ?? "A choice";
}

function whoOf(line) {
  const { userId, anonymousId } = line.subject;
  return userId ?? (anonymousId ? `visitor ${anonymousId.slice(0, 8)}` : "");
}

const STATES = { granted: "allowed", denied: "refused", never_collected: "no answer", conflict: "conflict" };

function changesOf(line) {
  const after = line.after ?? {};
  const named = [...Object.keys(CATEGORIES).filter((id) => id in after), ...Object.keys(after).filter((id) => id.startsWith("topic:"))];
  if (line.type === "identify") return [make("span", {}, "What either has refused now counts for both.")];
  if (!named.length) return [make("span", {}, "Recorded.")];
  return named.map((id) => {
    const [before, after] = [line.before?.[id] ?? "never_collected", line.after[id]];
    const look = { granted: "yes", denied: "no" }[after] ?? "wait";
    const was = before === after ? "still " : `${STATES[before] ?? before} → `;
    return make("span", { class: "change" }, `${nameOf(id)}: ${was}`, make("strong", { class: `text-${look}` }, STATES[after] ?? after));
  });
}

// -- the systems ---------------------------------------------------------------------------------
const stopped = new Map(); // name -> until when
const cards = new Map(setting.destinations.map((system) => [system.name, cardOf(system)]));
byId("systems").append(...cards.values());

/** Made once and changed in place, so that whoever stands on its button stays there. */
function cardOf({ name, enabled }) {
  const button = make("button", { type: "button", "data-stop": name });
  button.addEventListener("click", () => ask("/demo/system", { body: { name, down: !stopped.get(name) } }));
  return make(
    "li",
    { class: "card", "data-destination": name },
    make("h3", {}, byName(name)),
    make("p", { class: "answering" }),
    make("p", { class: "owed" }),
    button,
    make("p", { class: "count" }, enabled ? "" : "Switched off: no event goes there. It is told of choices."),
    make("ol", {}),
  );
}

function showSystems() {
  for (const [name, card] of cards) {
    const until = stopped.get(name);
    const owed = told.known.open(name);
    const next = owed.map((order) => order.nextAt).filter(Boolean).sort()[0];
    card.dataset.stopped = Boolean(until);
    say(card.querySelector(".answering"), until ? `Stopped until ${timeOf(until)}` : "Answering");
    say(card.querySelector(".owed"), owed.length ? `${owed.length} ${owed.length === 1 ? "order waits" : "orders wait"}, next try ${timeOf(next)}` : "No order waits");
    const button = card.querySelector("button");
    say(button, until ? "Start now" : "Stop for a minute");
    button.setAttribute("aria-label", `${button.textContent}: ${byName(name)}`);
  }
  const down = [...stopped].filter(([, until]) => until).map(([name]) => byName(name));
  say(byId("systems-state"), down.length ? `Stopped: ${down.join(", ")}` : "All systems answer");
}

/** Only where it changes: a screen reader would say it again. */
function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

function showReceived(received) {
  for (const { name, enabled } of setting.destinations) {
    const card = cards.get(name);
    if (enabled) say(card.querySelector(".count"), countOf(received[name]));
    card.querySelector("ol").replaceChildren(...received[name].slice(0, LISTED).map(receivedItem));
  }
}

function countOf(sent) {
  const kept = sent.filter((one) => one.status !== null && one.status < 300).length;
  return kept === 1 ? "1 event kept" : `${kept} events kept`;
}

function receivedItem(one) {
  const refused = one.status === null || one.status >= 300;
  const event = events.events.get(one.messageId);
  return make(
    "li",
    { "data-status": one.status ?? "none" },
    make("span", {}, event ? titleOf(event) : "An event"),
    " ",
    make("time", { datetime: one.at }, timeOf(one.at)),
    refused ? make("span", { class: "more text-bad" }, one.status === null ? "It hung up" : `It answered ${one.status}`) : null,
  );
}

// -- one person ----------------------------------------------------------------------------------
function meet({ anonymousId, userId }) {
  if (!anonymousId) return;
  const label = `visitor ${anonymousId.slice(0, 8)}${userId ? ` (${userId})` : ""}`;
  const known = visitors.get(anonymousId);
  if (known === label || (known && !userId)) return;
  visitors.set(anonymousId, label);
  const select = byId("subject");
  const chosen = select.value;
  select.replaceChildren(...[...visitors].reverse().map(([id, name]) => make("option", { value: id }, name)));
  const mine = JSON.parse(localStorage.getItem("consentry-demo") ?? "null")?.anonymousId;
  const fresh = known === undefined;
  select.value = fresh && (anonymousId === mine || !chosen) ? anonymousId : chosen;
}

function showSubject(person) {
  byId("preferences").replaceChildren(
    ...Object.entries(person.preferences).map(([id, found]) => {
      const look = found.state === "never_collected" ? "wait" : found.effective === "granted" ? "yes" : "no";
      const word = look === "wait" ? "No answer" : look === "yes" ? "Allowed" : "Refused";
      return make("div", {}, make("dt", {}, nameOf(id)), make("dd", {}, make("span", { class: `badge ${look}` }, word)));
    }),
  );
  byId("history-empty").hidden = person.history.length > 0;
  byId("history").replaceChildren(...person.history.map(historyItem));
  byId("checkpoint").textContent = `The ledger’s latest signed checkpoint covers ${person.checkpoint.size} records, of everybody and of the configuration.`;
}

function historyItem(record) {
  const { action, surface, noticeId, noticeVersion, noticeHash, language } = record.evidence;
  const how = [
    ["Pressed", action?.replaceAll("_", " ")],
    ["On", surface?.replaceAll("_", " ")],
    ["Notice", noticeId ? `${noticeId}, version ${noticeVersion}, text ${noticeHash.slice(0, 12)}…` : null],
    ["Language", language],
    ["Source", `${record.source} (${record.trust})`],
    ["Not proven", record.unverified.map(nameOf).join(", ") || null],
  ].filter(([, value]) => value);
  return make(
    "li",
    { class: "card" },
    make("p", { class: "what" }, make("strong", {}, choiceTitle(record)), make("time", { datetime: record.receivedAt }, timeOf(record.receivedAt)), make("span", { class: "leaf" }, `Leaf ${record.leafIndex}`)),
    make("p", { class: "changes" }, ...changesOf(record)),
    make("dl", { class: "how" }, ...how.map(([term, value]) => make("div", {}, make("dt", {}, term), make("dd", {}, value)))),
  );
}

// -- asked when something happened ---------------------------------------------------------------
let timer = null;

function soon() {
  timer ??= setTimeout(refresh, 150);
}

async function refresh() {
  timer = null;
  const anonymousId = byId("subject").value;
  try {
    showReceived(await ask("/demo/received"));
    if (!anonymousId) return;
    showSubject(await ask(`/demo/subject?anonymousId=${encodeURIComponent(anonymousId)}`));
    byId("person").dataset.of = anonymousId;
  } catch {
    // The connection line says that the server is gone.
  }
}

byId("older").addEventListener("click", () => {
  const open = byId("older").getAttribute("aria-expanded") === "true";
  byId("older").setAttribute("aria-expanded", String(!open));
  fold();
});
byId("subject").addEventListener("change", refresh);
byId("subject-form").addEventListener("submit", (submit) => submit.preventDefault());

showSystems();
refresh();
follow(take, (state) => {
  const connection = byId("connection");
  connection.dataset.state = state;
  connection.textContent = state === "live" ? "Live" : "Lost. Trying again…";
});
