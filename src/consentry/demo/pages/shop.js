// The shop: it sends events and choices through the same API that any site uses.
//
// A choice is sent to POST /v1/consent alone, because only that takes evidence (the notice, the
// surface, what was pressed); a "Segment Consent Preference Updated" event beside it would put
// every choice on the ledger twice.

import { CATEGORIES, Events, ask, byId, follow, make, outcome, timeOf, titleOf } from "./common.js";

const PRODUCTS = [
  { id: "mug", name: "Blue mug", price: 18, art: "M8 8h16v20a4 4 0 0 1-4 4h-8a4 4 0 0 1-4-4zM24 12h4a4 4 0 0 1 0 12h-4" },
  { id: "teapot", name: "Teapot", price: 42, art: "M10 16h18v8a8 8 0 0 1-8 8h-2a8 8 0 0 1-8-8zM10 20l-6-4M28 18h4a3 3 0 0 1 0 8h-4M15 16a4 4 0 0 1 8 0M19 12v-2" },
  { id: "bowl", name: "Soup bowl", price: 24, art: "M5 16h30a15 15 0 0 1-9 13v3H14v-3A15 15 0 0 1 5 16z" },
  { id: "plate", name: "Dinner plate", price: 21, art: "M20 6a14 14 0 1 0 0 28 14 14 0 1 0 0-28zM20 12a8 8 0 1 0 0 16 8 8 0 1 0 0-16z" },
];
const KEY = "consentry-demo";
const SHOWN = 3;
const SAID_FOR_MS = 6000;

const setting = await ask("/demo/setting");
const me = load();
const events = new Events();
let opener = null;

function load() {
  const kept = JSON.parse(localStorage.getItem(KEY) ?? "null");
  // Another run of the demo has another ledger, which knows nothing of what was chosen before.
  if (kept?.run === setting.run) return kept;
  const anonymousId = crypto.randomUUID();
  return { run: setting.run, anonymousId, userId: null, name: null, preferences: null, cart: {} };
}

function keep() {
  localStorage.setItem(KEY, JSON.stringify(me));
}

function subject() {
  return me.userId ? { anonymousId: me.anonymousId, userId: me.userId } : { anonymousId: me.anonymousId };
}

let silence = null;

/** A word on what was done. What it says can be seen in the page as well, so it goes by itself. */
function say(text, { stays = false } = {}) {
  clearTimeout(silence);
  byId("status").textContent = text;
  if (!stays) silence = setTimeout(() => say("", { stays: true }), SAID_FOR_MS);
}

// -- events --------------------------------------------------------------------------------------
async function send(type, members) {
  const now = new Date().toISOString();
  const context = { page: { path: location.pathname, title: document.title } };
  if (me.preferences) context.consent = { categoryPreferences: { ...me.preferences } };
  const message = { ...members, ...subject(), messageId: crypto.randomUUID(), context, timestamp: now, sentAt: now };
  try {
    await ask(`/v1/${type}`, { body: { writeKey: setting.writeKey, ...message } });
  } catch (error) {
    say(`The event could not be sent: ${error.message}`, { stays: true });
  }
}

const page = (name) => send("p", { name });
const track = (event, properties = {}) => send("t", { event, properties });

// -- choices -------------------------------------------------------------------------------------
function evidence(action, surface) {
  const { id, version, hash, text } = setting.notice;
  return {
    action, surface, language: document.documentElement.lang, page: location.pathname,
    noticeId: id, noticeVersion: version, noticeHash: hash, noticeText: text,
  };
}

async function consentHeaders() {
  const headers = { Authorization: `Basic ${btoa(`${setting.writeKey}:`)}`, "Idempotency-Key": crypto.randomUUID() };
  if (me.userId) {
    // The shop's back end vouches for who is signed in; without that no grant counts for an account.
    const signedIn = await ask("/demo/sign-in", { body: { userId: me.userId } });
    headers["Consentry-Subject-Token"] = signedIn.token;
  }
  return headers;
}

async function record(path, body, wanted, said) {
  const before = me.preferences;
  // A refusal holds in this page at once; a grant only when it is on record.
  me.preferences = narrowed(before, wanted);
  show();
  try {
    const headers = await consentHeaders();
    await ask(path, { body: { subject: subject(), ...body }, headers });
    me.preferences = wanted;
    say(said);
  } catch (error) {
    say(`Your choice could not be recorded: ${error.message}. What you refused stays refused in this page; please try again.`, { stays: true });
    if (!before) me.preferences = null;
  }
  keep();
  show();
}

function narrowed(before, wanted) {
  return Object.fromEntries(Object.entries(wanted).map(([id, yes]) => [id, yes && before?.[id] === true]));
}

function choose(preferences, action, surface) {
  const yes = Object.entries(preferences).filter(([, granted]) => granted).map(([id]) => CATEGORIES[id]);
  const said = yes.length ? `Saved. Allowed: ${yes.join(", ")}.` : "Saved. Everything is refused.";
  return record("/v1/consent", { preferences, evidence: evidence(action, surface) }, preferences, said);
}

function everything(yes) {
  return Object.fromEntries(setting.categories.map((category) => [category.id, yes]));
}

function withdraw() {
  const body = { evidence: evidence("withdraw", "preference_centre") };
  return record("/v1/consent/withdraw", body, everything(false), "Withdrawn. Nothing more is sent, not even what was waiting.");
}

const panel = byId("panel");

function openPanel(from) {
  opener = from;
  byId("categories").replaceChildren(
    ...setting.categories.map((category) => {
      const box = make("input", { type: "checkbox", id: `category-${category.id}`, name: category.id });
      box.checked = me.preferences?.[category.id] === true;
      return make("p", {}, box, make("label", { for: box.id }, category.name));
    }),
  );
  panel.showModal();
}

panel.addEventListener("close", () => {
  // The banner's buttons are gone once a choice is made; then focus goes to the page's start.
  if (opener?.isConnected && opener.offsetParent) opener.focus();
  else document.querySelector("h1").focus();
});

byId("panel-form").addEventListener("submit", () => {
  const boxes = [...byId("categories").querySelectorAll("input")];
  choose(Object.fromEntries(boxes.map((box) => [box.name, box.checked])), "save", "preference_centre");
});

document.addEventListener("click", (click) => {
  const button = click.target.closest("[data-do]");
  if (!button) return;
  const surface = panel.open ? "preference_centre" : "banner";
  const action = button.dataset.do;
  if (action === "open") return openPanel(button);
  if (panel.open) panel.close();
  if (action === "accept_all") choose(everything(true), action, surface);
  else if (action === "reject_all") choose(everything(false), action, surface);
  else if (action === "withdraw") withdraw();
});

// -- the shop ------------------------------------------------------------------------------------
function art(path) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("viewBox", "0 0 40 40");
  svg.setAttribute("aria-hidden", "true");
  const line = document.createElementNS("http://www.w3.org/2000/svg", "path");
  line.setAttribute("d", path);
  svg.append(line);
  return svg;
}

function showProducts() {
  byId("products").replaceChildren(
    ...PRODUCTS.map((product) => {
      const add = make("button", { type: "button", "data-product": product.id }, "Add to cart");
      add.setAttribute("aria-label", `Add ${product.name} to cart`);
      add.addEventListener("click", () => addToCart(product));
      return make("li", { class: "card" }, art(product.art), make("h2", {}, product.name), make("p", {}, `€${product.price}`), add);
    }),
  );
}

function addToCart(product) {
  me.cart[product.id] = (me.cart[product.id] ?? 0) + 1;
  keep();
  show();
  say(`${product.name} is in the cart.`);
  track("Product Added", { product_id: product.id, name: product.name, price: product.price, quantity: 1 });
}

byId("order").addEventListener("click", () => {
  const total = totalOf(me.cart);
  me.cart = {};
  keep();
  show();
  say("Thank you. The order is placed.");
  track("Order Completed", { order_id: crypto.randomUUID(), total, currency: "EUR" });
});

function totalOf(cart) {
  return PRODUCTS.reduce((sum, product) => sum + product.price * (cart[product.id] ?? 0), 0);
}

byId("sign-in").addEventListener("submit", async (submit) => {
  submit.preventDefault();
  me.name = byId("name").value.trim() || "Ada";
  me.userId = `customer-${me.name.toLowerCase().replaceAll(/\s+/g, "-")}`;
  keep();
  show();
  say(`Signed in as ${me.name}.`);
  byId("sign-out").focus();
  await send("i", { traits: { firstName: me.name } });
  await hearTheAccount();
});

/** What this account refused on another device holds here too; what it granted there does not. */
async function hearTheAccount() {
  try {
    const headers = await consentHeaders();
    const body = { subject: subject(), writeKey: setting.writeKey };
    const { preferences } = await ask("/v1/subjects/lookup", { body, headers });
    const refused = Object.keys(CATEGORIES).filter((id) => ["denied", "conflict"].includes(preferences[id].state));
    const news = refused.filter((id) => me.preferences?.[id]);
    if (!news.length) return;
    me.preferences = { ...me.preferences, ...Object.fromEntries(news.map((id) => [id, false])) };
    keep();
    show();
    say(`${me.name} refused this before: ${news.map((id) => CATEGORIES[id]).join(", ")}. It holds here too.`);
  } catch (error) {
    say(`The account’s choices could not be read: ${error.message}`, { stays: true });
  }
}

byId("sign-out").addEventListener("click", async () => {
  await track("Signed Out");
  me.userId = me.name = null;
  keep();
  show();
  say("Signed out.");
  byId("name").focus();
});

byId("start-over").addEventListener("click", () => {
  localStorage.removeItem(KEY);
  scrollTo(0, 0);
  location.reload();
});

// -- what is shown -------------------------------------------------------------------------------
function show() {
  byId("banner").hidden = me.preferences !== null;
  byId("signed-in").hidden = !me.userId;
  byId("sign-in").hidden = Boolean(me.userId);
  byId("who").textContent = me.name ?? "";
  byId("state").replaceChildren(...setting.categories.map(stateOf));
  const held = PRODUCTS.filter((product) => me.cart[product.id]);
  byId("cart").replaceChildren(...held.map((p) => make("li", {}, `${me.cart[p.id]} × ${p.name}`)));
  byId("cart-empty").hidden = held.length > 0;
  byId("order").disabled = held.length === 0;
  byId("total").hidden = held.length === 0;
  byId("total").textContent = `Together €${totalOf(me.cart)}`;
}

function stateOf(category) {
  const answer = me.preferences?.[category.id];
  const [look, word] = answer === undefined ? ["wait", "Not asked yet"] : answer ? ["yes", "Allowed"] : ["no", "Refused"];
  return make("div", {}, make("dt", {}, category.name), make("dd", {}, make("span", { class: `badge ${look}` }, word)));
}

const mine = [];

function trace(line) {
  const changed = events.take(line);
  if (!changed || events.events.get(changed).subject.anonymousId !== me.anonymousId) return;
  if (!mine.includes(changed)) mine.unshift(changed);
  byId("trace-empty").hidden = true;
  byId("trace").replaceChildren(...mine.slice(0, SHOWN).map(traced));
}

function traced(messageId) {
  const event = events.events.get(messageId);
  return make(
    "li",
    {},
    make("p", { class: "what" }, make("strong", {}, titleOf(event)), " ", make("time", { datetime: event.receivedAt }, timeOf(event.receivedAt))),
    make("dl", {}, ...events.standings(messageId).map(([name, standing]) => outcome(name, standing))),
  );
}

document.querySelector("h1").tabIndex = -1;
for (const text of document.querySelectorAll(".notice-text")) text.textContent = setting.notice.text;
showProducts();
keep();
show();
let arrived = false;
follow(trace, (state) => {
  if (state === "live" && !arrived) {
    arrived = true;
    page("Shop");
  }
});
