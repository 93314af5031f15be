/**
 * The guard: a net under the declarative gate, and a detector. First in the head, neither async
 * nor deferred: `<script src="/sdk/consentry-guard.js" data-key="…" data-allow="cdn.example">`.
 *
 * A host that belongs to a tag is let through while the tag's categories are granted. Until the
 * policy is here, what goes to other hosts waits, unless `data-allow` names them: the cookie says
 * who agreed to which category, but not which host belongs to it. With `data-unknown="deny"` a
 * host that no tag names is refused for good. What is in the page's own
 * HTML was asked for by the browser before any script ran: that is for the gate and for CSP.
 */
import { allGranted, hostMatches, refusedNames, tagsOf } from "./tags";
import type { Categories, Tag } from "./types";

type Any = any; // eslint-disable-line @typescript-eslint/no-explicit-any -- the platform, patched
type Realm = typeof globalThis & Window;

const MOST = 100;
const REPORT_MS = 2000;
const HELD = "data-consentry-";
const TYPE = `${HELD}type`;
/** Properties that make an element ask for something. */
const SOURCES: [string, string[]][] = [
  ["Script", ["src"]],
  ["Image", ["src", "srcset"]],
  ["IFrame", ["src"]],
  ["Embed", ["src"]],
  ["Source", ["src", "srcset"]],
  ["Track", ["src"]],
  ["Media", ["src"]],
  ["Video", ["poster"]],
  ["Input", ["src"]],
  ["Object", ["data"]],
  ["Link", ["href"]],
  ["Anchor", ["ping"]],
];
const NAMES = /^(src|srcset|data|poster|ping|href)$/;
const PLAIN_LINK = /^(a|area|base)$/i;

const script = document.currentScript as HTMLScriptElement;
const { key = "", allow = "", unknown } = script.dataset;
const api = (script.dataset.api ?? new URL(script.src).origin).replace(/\/$/, "");
const always = [location.host, new URL(api).host, ...allow.split(/[\s,]+/).filter(Boolean)];
const beacon = navigator.sendBeacon?.bind(navigator);
const plainly = window.fetch.bind(window);

let rules: { tags: Tag[]; categories: Categories } | null = null;
let arrived!: () => void;
const ruled = new Promise<void>((resolve) => (arrived = resolve));
let refused: (name: string) => boolean = () => false;
let held: [Element, string, unknown][] = [];
/** What a person asked to see once; of a template, what came out of it. */
let once: Node[] = [];
let leaks: { host: string; kind: string; category: string; count: number }[] = [];

// -- the question ---------------------------------------------------------------------------------
/** true: let it go; false: never; null: not known yet. */
function verdict(url: string, kind: string): boolean | null {
  let at: URL;
  try {
    at = new URL(url, document.baseURI);
  } catch {
    return true; // it goes nowhere
  }
  if (!/^(http|ws)s?:$/.test(at.protocol) || always.some((host) => hostMatches(host, at.host))) return true;
  if (!rules) return null;
  const { tags, categories } = rules;
  const behind = tagsOf(tags, at.host);
  const may = behind.length
    ? behind.some((tag) => tag.mode === "advanced" || allGranted(tag.categories, categories))
    : unknown !== "deny";
  if (!may) report(at.hostname, kind, behind[0]?.categories.find((id) => !categories[id]) ?? "");
  return may;
}

/** Of several addresses, as in `srcset`, the strictest. */
function verdictOf(value: unknown, name: string, kind: string): boolean | null {
  const urls = /^(srcset|ping)$/.test(name) ? String(value).split(/[\s,]+/).filter((url) => /[/:]/.test(url)) : [String(value)];
  const all = urls.map((url) => verdict(url, kind));
  return all.includes(false) ? false : all.includes(null) ? null : true;
}

function report(host: string, kind: string, category: string): void {
  const known = leaks.find((leak) => leak.host === host && leak.kind === kind && leak.category === category);
  if (known) known.count += 1;
  else if (leaks.length < MOST && leaks.push({ host, kind, category, count: 1 }) === 1) setTimeout(tell, REPORT_MS);
}

/** Hosts and categories; no path, no query, nobody's id. */
function tell(): void {
  if (!leaks.length || !key) return;
  beacon?.(`${api}/v1/csp-reports`, JSON.stringify({ writeKey: key, leaks }));
  leaks = [];
}
addEventListener("pagehide", tell);

const kindOf = (element: Element) => ({ img: "image", iframe: "frame", link: "style" })[element.localName] ?? element.localName;

/** Whether an attribute may be set; if not it is kept until it may. */
function maySet(element: Element, name: string, value: unknown): boolean {
  if (once.some((node) => node.contains(element)) || !NAMES.test(name) || (name === "href" && PLAIN_LINK.test(element.localName))) return true;
  const may = verdictOf(value, name, kindOf(element));
  if (!may) held = [...held, [element, name, value] as [Element, string, unknown]].slice(-MOST);
  return !!may;
}

/** Markup with what may not be loaded renamed, so that nothing asks for it. */
function cleaned(markup: string): string {
  const tags = String(markup).replace(/<([a-z]+)((?:"[^"]*"|'[^']*'|[^>"'])*)>/gi, (whole, element: string, rest: string) => {
    const attributes = rest.replace(/(\s|^|\/)([a-z]+)(\s*=\s*)("[^"]*"|'[^']*'|[^\s"'>]+)/gi, (all, before, name, equals, value) => {
      const bare = value.replace(/^["']|["']$/g, "");
      const loads = NAMES.test(name.toLowerCase()) && !(/^href$/i.test(name) && PLAIN_LINK.test(element));
      return !loads || verdictOf(bare, name, element.toLowerCase()) ? all : `${before}${HELD}${name}${equals}${value}`;
    });
    return attributes === rest ? whole : `<${element}${attributes}>`;
  });
  return styles(tags);
}

const styles = (css: string) =>
  String(css).replace(/(url\(\s*|@import\s*(?=["']))(["']?)([^"')\s;]+)/gi, (all, how, quote, url) =>
    verdict(url, "style") ? all : `${how}${quote}data:,`);

// -- trusted types ------------------------------------------------------------------------------------
const same = (text: string): Any => text;
let types = { createHTML: same, createScriptURL: same };
try {
  types = (window as Any).trustedTypes.createPolicy("consentry-guard", types);
} catch {
  // The browser has none, or the page's policy does not name ours.
}

/** What came in trusted goes on trusted, and nothing else does. */
const alike = (text: string, ...given: unknown[]): Any => {
  if (given.length === 1 && String(given[0]) === text) return given[0];
  const trusted = given.every((one) => Object.prototype.toString.call(one) === "[object TrustedHTML]");
  return trusted ? types.createHTML(text) : text;
};

// -- the platform ---------------------------------------------------------------------------------
const installed = new WeakSet<object>();

function install(realm: Realm): void {
  if (installed.has(realm)) return;
  installed.add(realm);
  requests(realm);
  constructors(realm);
  elements(realm);
  forms(realm);
  pings(realm);
  markup(realm);
  stored(realm);
}

/** Puts `make(original)` in the place of a method. */
function method(owner: Any, name: string, make: (original: Any) => Any): void {
  const original = owner?.[name];
  if (typeof original === "function") owner[name] = make(original);
}

function setter(owner: Any, name: string, set: (original: Any) => Any, get?: (original: Any) => Any): void {
  const found = owner && Object.getOwnPropertyDescriptor(owner, name);
  if (found?.configurable) Object.defineProperty(owner, name, { ...found, set: found.set && set(found.set), get: get ? get(found.get) : found.get });
}

function requests(realm: Realm): void {
  method(realm, "fetch", (original) => (input: Any, init?: Any) => {
    const url = input?.url ?? String(input);
    const may = verdict(url, "fetch");
    if (may) return original.call(realm, input, init);
    const later = may === null ? ruled.then(() => verdict(url, "fetch")) : Promise.resolve(false);
    return later.then((now) => {
      if (now) return original.call(realm, input, init);
      throw new realm.TypeError("Failed to fetch");
    });
  });
  const urls = new WeakMap<object, string>();
  const proto = (realm as Any).XMLHttpRequest.prototype;
  method(proto, "open", (original) => function (this: Any, ...args: Any[]) {
    urls.set(this, String(args[1]));
    return original.apply(this, args);
  });
  method(proto, "send", (original) => function (this: Any, body?: Any) {
    const ask = () => verdict(urls.get(this) ?? "", "xhr");
    const end = (may: boolean | null) => {
      if (may) return original.call(this, body);
      for (const type of ["error", "loadend"]) this.dispatchEvent(new ProgressEvent(type));
    };
    const may = ask();
    if (may) return original.call(this, body);
    void (may === null ? ruled.then(ask) : Promise.resolve(false)).then(end);
  });
  method(realm.navigator, "sendBeacon", (original) => (url: Any, data?: Any) => {
    const ask = () => verdict(String(url), "beacon");
    const send = () => original.call(realm.navigator, url, data);
    const may = ask();
    if (may === null) void ruled.then(() => ask() && send());
    return may ? send() : may === null;
  });
  method(realm, "open", (original) => (url?: Any, ...more: Any[]) =>
    url === undefined || verdict(String(url), "window") ? original.call(realm, url, ...more) : null);
}

function constructors(realm: Realm): void {
  for (const [name, kind] of [["WebSocket", "websocket"], ["EventSource", "eventsource"], ["Worker", "worker"], ["SharedWorker", "worker"], ["WebTransport", "webtransport"], ["FontFace", "font"]]) {
    method(realm, name!, (original) => new Proxy(original, {
      construct(target, args, self) {
        const url = name === "FontFace" ? /url\(\s*["']?([^"')\s]+)/.exec(String(args[1]))?.[1] : String(args[0]);
        if (url !== undefined && !verdict(url, kind!)) throw new realm.DOMException(`consentry: ${kind} without consent`, "SecurityError");
        return Reflect.construct(target, args, self);
      },
    }));
  }
}

function elements(realm: Realm): void {
  for (const [name, properties] of SOURCES) {
    const owner = (realm as Any)[`HTML${name}Element`]?.prototype;
    for (const property of properties) {
      setter(owner, property, (original) => function (this: Any, value: Any) {
        if (maySet(this, property, value)) original.call(this, value);
      });
    }
  }
  const proto = (realm as Any).Element.prototype;
  method(proto, "setAttribute", (original) => function (this: Any, name: Any, value: Any) {
    if (maySet(this, String(name).toLowerCase(), value)) original.call(this, name, value);
  });
  method(proto, "setAttributeNS", (original) => function (this: Any, space: Any, name: Any, value: Any) {
    if (maySet(this, String(name).replace(/^.*:/, "").toLowerCase(), value)) original.call(this, space, name, value);
  });
  // A fresh frame has a platform of its own.
  for (const name of ["contentWindow", "contentDocument"]) {
    setter((realm as Any).HTMLIFrameElement.prototype, name, (set) => set, (get) => function (this: Any) {
      const found = get.call(this);
      try {
        const inner = name === "contentWindow" ? found : found?.defaultView;
        if (inner?.document) install(inner);
      } catch {
        // It is another origin's, and out of reach.
      }
      return found;
    });
  }
}

/** Where a form goes. Its fields may be called `action`, and a button's property is never empty. */
const actionOf = (form: Element, button?: Element | null): string => {
  const said = (element: Element, name: string) => Element.prototype.getAttribute.call(element, name);
  return (button && said(button, "formaction")) ?? said(form, "action") ?? "";
};

/** A form that is sent too early waits; then it is sent as if it were now, or refused. */
function forms(realm: Realm): void {
  const proto = (realm as Any).HTMLFormElement.prototype;
  const again = proto.requestSubmit;
  const waiting = new WeakSet<object>();
  for (const name of ["submit", "requestSubmit"]) {
    method(proto, name, (original) => function (this: Any, ...args: Any[]) {
      const may = () => verdict(actionOf(this, args[0]), "form");
      const now = may();
      if (now) original.apply(this, args);
      if (now === null) void ruled.then(() => may() && original.apply(this, args));
    });
  }
  const submitted = (event: Any) => {
    const { target: form, submitter } = event;
    const may = verdict(actionOf(form, submitter), "form");
    if (may) return;
    event.preventDefault();
    if (may === false) return;
    event.stopImmediatePropagation(); // the page hears of it once it is sent
    if (waiting.has(form)) return;
    waiting.add(form);
    const send = () => waiting.delete(form) && again.call(form, submitter);
    ruled.then(send).catch(() => {}); // the button may be gone
  };
  realm.document.addEventListener("submit", submitted, true);
}

/** A link goes on at once. What it would have pinged hears of it once it may, if the page is still there. */
function pings(realm: Realm): void {
  const clicked = (event: Any) => {
    const link = rules ? null : event.target.closest?.("a,area");
    const urls = link && (held.find(([element, name]) => element === link && name === "ping")?.[2] ?? link.getAttribute(`${HELD}ping`));
    const send = (url: string) =>
      verdict(url, "ping") && plainly(url, { method: "POST", body: "PING", mode: "no-cors", credentials: "include", keepalive: true }).catch(() => {});
    if (urls) void ruled.then(() => event.defaultPrevented || String(urls).trim().split(/\s+/).forEach(send));
  };
  realm.document.addEventListener("click", clicked, true);
}

function markup(realm: Realm): void {
  const { Element: element, Document: page, Range: range, ShadowRoot: shadow, CSSStyleSheet: sheet } = realm as Any;
  for (const owner of [element.prototype, shadow.prototype]) {
    for (const name of ["innerHTML", "outerHTML"]) {
      setter(owner, name, (original) => function (this: Any, value: Any) {
        original.call(this, alike(this.localName === "style" ? styles(value) : cleaned(value ?? ""), value));
      });
    }
    method(owner, "setHTMLUnsafe", (original) => function (this: Any, value: Any, ...more: Any[]) {
      return original.call(this, alike(cleaned(value), value), ...more);
    });
  }
  method(element.prototype, "insertAdjacentHTML", (original) => function (this: Any, place: Any, value: Any) {
    original.call(this, place, alike(cleaned(value), value));
  });
  method(range.prototype, "createContextualFragment", (original) => function (this: Any, value: Any) {
    return original.call(this, alike(cleaned(value), value));
  });
  for (const name of ["write", "writeln"]) {
    method(page.prototype, name, (original) => function (this: Any, ...parts: Any[]) {
      original.call(this, alike(cleaned(parts.join("")), ...parts));
    });
  }
  for (const name of ["insertRule", "replace", "replaceSync"]) {
    method(sheet.prototype, name, (original) => function (this: Any, css: Any, ...more: Any[]) {
      return original.call(this, styles(css), ...more);
    });
  }
}

function stored(realm: Realm): void {
  const bad = (name: string, kind: string) => {
    if (!refused(name)) return false;
    report(location.hostname, kind, rules!.tags.flatMap((tag) => tag.categories).find((id) => !rules!.categories[id]) ?? "");
    return true;
  };
  setter((realm as Any).Document.prototype, "cookie", (original) => function (this: Any, text: Any) {
    const expires = /max-age=(0|-)|expires=thu, 01 jan 1970/i.test(String(text));
    if (expires || !bad(String(text).split("=")[0]!.trim(), "cookie")) original.call(this, text);
  });
  method((realm as Any).CookieStore?.prototype, "set", (original) => function (this: Any, first: Any, ...more: Any[]) {
    return bad(first?.name ?? String(first), "cookie") ? Promise.resolve() : original.call(this, first, ...more);
  });
  method((realm as Any).Storage.prototype, "setItem", (original) => function (this: Any, name: Any, value: Any) {
    if (!bad(String(name), "storage")) original.call(this, name, value);
  });
}

// -- what is in the document ----------------------------------------------------------------------
function neutralise(element: Element): void {
  for (const { name, value } of [...element.attributes]) {
    if (!NAMES.test(name) || maySet(element, name, value)) continue;
    element.removeAttribute(name);
    element.setAttribute(`${HELD}${name}`, value);
    // Firefox has read by now where a script of the page comes from, but not yet of which kind it is.
    if (element instanceof HTMLScriptElement && !element.hasAttribute(TYPE)) {
      element.setAttribute(TYPE, element.type);
      element.type = "text/plain";
    }
  }
}

new MutationObserver((changes) => {
  for (const { addedNodes, previousSibling, target, type } of changes) {
    if (previousSibling instanceof HTMLTemplateElement && previousSibling === once[0]) once = [...addedNodes];
    if (type === "attributes") neutralise(target as Element);
    for (const node of addedNodes) {
      if (!(node instanceof Element)) continue;
      neutralise(node);
      node.querySelectorAll("[src],[srcset],[href],[data],[poster],[ping]").forEach(neutralise);
    }
  }
}).observe(document, { childList: true, subtree: true, attributes: true, attributeFilter: ["src", "srcset", "href", "data", "poster", "ping"] });

/** Called by the loader whenever something is granted or refused. */
window.consentryGuard = (tags, categories, shown) => {
  once = shown ? [shown] : [];
  rules = { tags, categories };
  refused = refusedNames(tags, categories);
  arrived();
  const waiting = held;
  held = [];
  for (const [element, name, value] of waiting) bringBack(element, name, value);
  for (const name of ["src", "srcset", "href", "data", "poster", "ping"]) {
    for (const element of document.querySelectorAll(`[${HELD}${name}]`)) {
      const value = element.getAttribute(`${HELD}${name}`)!;
      if (!verdictOf(value, name, kindOf(element))) continue;
      element.removeAttribute(`${HELD}${name}`);
      bringBack(element, name, element.localName === "script" ? types.createScriptURL(value) : value);
    }
  }
};

function bringBack(element: Element, name: string, value: unknown): void {
  const type = element.getAttribute(TYPE);
  if (type !== null) element.setAttribute("type", type);
  try {
    element.setAttribute(name, value as string);
  } catch (error) {
    console.error(error); // the page's policy of trusted types refuses it, as it would have
  }
  if (type === null) return;
  if (element.hasAttribute(name)) element.removeAttribute(TYPE);
  else element.setAttribute("type", "text/plain");
}

install(window as Realm);
