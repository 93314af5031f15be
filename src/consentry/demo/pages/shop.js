// The shop: it sends events and choices through the same API that any site uses.
//
// The banner, the preference centre, the gate for tags and the record of a choice are the browser
// SDK's (docs/browser.md). What is here is the shop.

import { CATEGORIES, Events, ask, byId, follow, make, outcomes, settingOf, timeOf, titleOf } from "./common.js";
import { Timeline } from "./timeline.js";

const PRODUCTS = [
  { id: "mug", name: "Blue mug", price: 18, art: "M8 8h16v20a4 4 0 0 1-4 4h-8a4 4 0 0 1-4-4zM24 12h4a4 4 0 0 1 0 12h-4" },
  { id: "teapot", name: "Teapot", price: 42, art: "M10 16h18v8a8 8 0 0 1-8 8h-2a8 8 0 0 1-8-8zM10 20l-6-4M28 18h4a3 3 0 0 1 0 8h-4M15 16a4 4 0 0 1 8 0M19 12v-2" },
  { id: "bowl", name: "Soup bowl", price: 24, art: "M5 16h30a15 15 0 0 1-9 13v3H14v-3A15 15 0 0 1 5 16z" },
  { id: "plate", name: "Dinner plate", price: 21, art: "M20 6a14 14 0 1 0 0 28 14 14 0 1 0 0-28zM20 12a8 8 0 1 0 0 16 8 8 0 1 0 0-16z" },
];
const KEY = "consentry-demo";
const SHOWN = 3;
const SAID_FOR_MS = 6000;

const consentry = window.consentry;
const setting = await settingOf();
const me = load();
const events = new Events();
const told = new Timeline(byId("told"), setting.destinations, {
  brief: true,
  most: 5,
  keeps: ({ subject }) => !subject.anonymousId || subject.anonymousId === me.anonymousId,
});
const TAGS = { counter: { name: "Visit counter", cookie: "_count" }, ads: { name: "Picture ads", cookie: "_ads_id" } };

function load() {
  const kept = JSON.parse(localStorage.getItem(KEY) ?? "null");
  // Another run of the demo has another ledger, which knows nothing of what was chosen before.
  if (kept?.run === setting.run) return kept;
  forget();
  const anonymousId = crypto.randomUUID();
  return { run: setting.run, anonymousId, userId: null, name: null, cart: {} };
}

function forget() {
  localStorage.clear();
  for (const name of ["consentry", "_count", "_ads_id"]) document.cookie = `${name}=; Max-Age=0; Path=/`;
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
  if (answered()) context.consent = { categoryPreferences: consentry.getCategories() };
  const messageId = crypto.randomUUID();
  // GA4 has no member for the id of a message, but keeps whatever stands among the properties.
  const properties = type === "i" ? {} : { properties: { ...members.properties, event_id: messageId } };
  const message = { ...members, ...properties, ...subject(), messageId, context, timestamp: now, sentAt: now };
  try {
    await ask(`/v1/${type}`, { body: { writeKey: setting.writeKey, ...message } });
  } catch (error) {
    say(`The event could not be sent: ${error.message}`, { stays: true });
  }
}

const page = (name) => send("p", { name });
const track = (event, properties = {}) => send("t", { event, properties });

// -- choices -------------------------------------------------------------------------------------
const answered = () => document.cookie.split("; ").some((pair) => pair.startsWith("consentry="));

/** The shop's back end vouches for who is signed in; without that no grant counts for an account. */
const proof = async () => (await ask("/demo/token", { body: { userId: me.userId } })).token;

consentry.onChange((categories) => {
  const yes = Object.keys(CATEGORIES).filter((id) => categories[id]).map((id) => CATEGORIES[id]);
  say(yes.length ? `Allowed: ${yes.join(", ")}.` : "Everything is refused. Nothing more is sent, not even what was waiting.");
  show();
});

// All: for who is signed in, what is sent to the account too.
byId("withdraw").addEventListener("click", () => consentry.withdraw());

// Whoever knows the public key can name anybody. So this closes our gate and reaches nobody else.
byId("unproven").addEventListener("click", async () => {
  const userId = me.userId ?? accountOf(nameGiven());
  const evidence = { action: "withdraw", surface: "api", page: location.origin + location.pathname };
  const headers = { Authorization: `Basic ${btoa(`${setting.writeKey}:`)}`, "Idempotency-Key": crypto.randomUUID() };
  await ask("/v1/consent/withdraw", { body: { subject: { userId }, evidence }, headers });
  say(`A no for ${userId}, which nobody proved: our gate is closed, and no system is told.`);
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
      add.setAttribute("aria-label", `Add to cart: ${product.name}`);
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
  me.name = nameGiven();
  me.userId = accountOf(me.name);
  // The back end says whose browser and whose address it is: systems are told of nothing else.
  await ask("/demo/sign-in", { body: { userId: me.userId, anonymousId: me.anonymousId, name: me.name } });
  keep();
  show();
  say(`Signed in as ${me.name}.`);
  byId("sign-out").focus();
  // What this account refuses on another device holds here too, from now on.
  consentry.identify(me.userId, proof);
});

const nameGiven = () => byId("name").value.trim() || "Ada";
const accountOf = (name) => `customer-${name.toLowerCase().replaceAll(/\s+/g, "-")}`;

byId("sign-out").addEventListener("click", async () => {
  await track("Signed Out");
  me.userId = me.name = null;
  consentry.identify();
  keep();
  show();
  say("Signed out.");
  byId("name").focus();
});

byId("start-over").addEventListener("click", () => {
  forget();
  scrollTo(0, 0);
  location.reload();
});

// -- what is shown -------------------------------------------------------------------------------
function show() {
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
  const answer = answered() ? consentry.getCategories()[category.id] : undefined;
  const [look, word] = answer === undefined ? ["wait", "Not asked yet"] : answer ? ["yes", "Allowed"] : ["no", "Refused"];
  return make("div", {}, make("dt", {}, category.name), make("dd", {}, make("span", { class: `badge ${look}` }, word)));
}

/** Looked at now and then: a tag tells nobody that it has started. */
function showTags() {
  const now = Object.keys(TAGS).map((id) => [id, Boolean(window.demoTags?.[id]), document.cookie.includes(`${TAGS[id].cookie}=`)]);
  const seen = JSON.stringify(now);
  if (byId("tags").dataset.seen === seen) return;
  byId("tags").dataset.seen = seen;
  byId("tags").replaceChildren(
    ...now.map(([id, runs, stored]) => {
      const badge = make("span", { class: `badge ${runs ? "yes" : "no"}`, "data-tag": id }, runs ? "Running" : "Not running");
      const cookie = make("span", { "data-cookie": id }, stored ? ` cookie ${TAGS[id].cookie}` : " no cookie");
      return make("div", {}, make("dt", {}, TAGS[id].name), make("dd", {}, badge, cookie));
    }),
  );
}

const mine = [];

function trace(line) {
  if (told.take(line)) byId("told-empty").hidden = true;
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
    make("dl", {}, ...outcomes(events.standings(messageId))),
  );
}

document.querySelector("h1").tabIndex = -1;
consentry.init({
  key: setting.writeKey,
  anonymousId: me.anonymousId,
  language: document.documentElement.lang,
  revoke: { "Visit counter": () => window.demoTags?.counter?.stop(), "Picture ads": () => window.demoTags?.ads?.stop() },
});
if (me.userId) consentry.identify(me.userId, proof);
await consentry.ready;
me.anonymousId = consentry.anonymousId;
showProducts();
keep();
show();
showTags();
setInterval(showTags, 250);
let arrived = false;
follow(trace, (state) => {
  if (state === "live" && !arrived) {
    arrived = true;
    page("Shop");
  }
});
