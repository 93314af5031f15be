// The live view: reads the feed, and asks the stand-ins and the ledger when something happened.

import { CATEGORIES, DESTINATIONS, Events, ask, byId, follow, make, nameOf, outcome, timeOf, titleOf } from "./common.js";

const SHOWN = 8; // rows, until older ones are asked for
const KEPT = 100; // rows
const LISTED = 8; // per destination
const events = new Events();
const choices = new Map();
const items = new Map(); // id -> element
const visitors = new Map(); // anonymousId -> label

// -- what happens --------------------------------------------------------------------------------
function take(line) {
  if (line.kind === "choice") takeChoice(line);
  else {
    const changed = events.take(line);
    if (changed) {
      meet(events.events.get(changed).subject);
      put(changed, events.events.get(changed).receivedAt, eventItem(changed));
    }
  }
  soon();
}

function takeChoice(line) {
  if (!Object.keys(line.subject).length) return; // of the configuration
  meet(line.subject);
  choices.set(line.recordId, line);
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
    make("dl", {}, ...events.standings(messageId).map(([name, standing]) => outcome(name, standing))),
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
  const named = Object.keys(CATEGORIES).filter((id) => id in (line.after ?? {}));
  if (line.type === "identify") return [make("span", {}, "What either has refused now counts for both.")];
  if (!named.length) return [make("span", {}, "Recorded.")];
  return named.map((id) => {
    const [before, after] = [line.before?.[id] ?? "never_collected", line.after[id]];
    const look = { granted: "yes", denied: "no" }[after] ?? "wait";
    const was = before === after ? "still " : `${STATES[before] ?? before} → `;
    return make("span", { class: "change" }, `${nameOf(id)}: ${was}`, make("strong", { class: `text-${look}` }, STATES[after] ?? after));
  });
}

// -- what was received ---------------------------------------------------------------------------
function showReceived({ received, adsFailing }) {
  byId("received").replaceChildren(
    ...Object.entries(received).map(([name, sent]) =>
      make(
        "section",
        { class: "card", "data-destination": name, "aria-label": `${DESTINATIONS[name]} received` },
        make("h3", {}, DESTINATIONS[name], " ", make("span", { class: "count" }, countOf(sent))),
        sent.length ? make("ol", {}, ...sent.slice(0, LISTED).map(receivedItem)) : make("p", { class: "empty" }, "Nothing."),
        sent.length > LISTED ? make("p", { class: "empty" }, `and ${sent.length - LISTED} earlier`) : null,
      ),
    ),
  );
  byId("ads-state").textContent = adsFailing ? "Ads is failing: it answers 500." : "Ads is answering.";
  byId("ads").dataset.failing = adsFailing;
  byId("ads-fail").disabled = adsFailing;
  byId("ads-recover").disabled = !adsFailing;
}

function countOf(sent) {
  const kept = sent.filter((one) => one.status < 300).length;
  return kept === 1 ? "1 event kept" : `${kept} events kept`;
}

function receivedItem(one) {
  const refused = one.status === null || one.status >= 300;
  const granted = Object.keys(CATEGORIES).filter((id) => one.consent[id]).map(nameOf);
  return make(
    "li",
    { "data-status": one.status },
    make("strong", {}, titleOf(one)),
    " ",
    make("time", { datetime: one.at }, timeOf(one.at)),
    refused
      ? make("span", { class: "more text-bad" }, `It answered ${one.status ?? "nothing"} and kept nothing`)
      : make("span", { class: "more" }, `With consent for ${granted.join(", ") || "nothing"}`),
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
    if (anonymousId) showSubject(await ask(`/demo/subject?anonymousId=${encodeURIComponent(anonymousId)}`));
  } catch {
    // The connection line says that the server is gone.
  }
}

async function letAds(failing, other) {
  await ask("/demo/ads", { body: { failing } });
  await refresh();
  byId(other).focus();
}

byId("ads-fail").addEventListener("click", () => letAds(true, "ads-recover"));
byId("ads-recover").addEventListener("click", () => letAds(false, "ads-fail"));
byId("older").addEventListener("click", () => {
  const open = byId("older").getAttribute("aria-expanded") === "true";
  byId("older").setAttribute("aria-expanded", String(!open));
  fold();
});
byId("subject").addEventListener("change", refresh);
byId("subject-form").addEventListener("submit", (submit) => submit.preventDefault());

refresh();
follow(take, (state) => {
  const connection = byId("connection");
  connection.dataset.state = state;
  connection.textContent = state === "live" ? "Live" : "Lost. Trying again…";
});
