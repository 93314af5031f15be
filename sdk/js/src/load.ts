/** Loads what the gate lets through. Until this file is here it stays inert. */
import type { Core } from "./core";
import { mind, ran } from "./running";
import { allGranted, hostOf, tagsOf } from "./tags";
import type { Tag } from "./types";
import { unwrap } from "./unwrap";
import { sleep } from "./uuid";

export const SOURCES = ["src", "srcset", "href"];
const LONGEST_WAIT_MS = 10_000;

export const sourceOf = ({ dataset }: HTMLElement, name: string) => dataset[name] ?? (name === "src" ? dataset.cookieblockSrc : undefined);

/** A copy has no shadow roots, so it gets those that are open. Returns all of its scripts, in order. */
function graft(from: ParentNode, to: ParentNode): HTMLScriptElement[] {
  const copies = to.querySelectorAll<HTMLScriptElement>("*");
  return [...from.querySelectorAll("*")].flatMap(({ shadowRoot: root }, n) => {
    const copy = copies[n]!;
    if (!root) return copy.localName === "script" ? copy : [];
    if (!copy.shadowRoot) copy.attachShadow(root).append(...[...root.childNodes].map((node) => document.importNode(node, true)));
    return graft(root, copy.shadowRoot!);
  });
}

let watched = false;

/** A server's policy opens with the next page: after a yes that is this one, loaded anew, once. */
function watch(core: Core): void {
  if (watched) return;
  watched = true;
  document.addEventListener("securitypolicyviolation", ({ blockedURI, disposition }) => {
    const granted = tagsOf(core.policy!.tags, hostOf(blockedURI)).some((tag) => allGranted(tag.categories, core.categories()));
    if (granted && core.grantedHere && disposition === "enforce" && core.options.reload !== false) location.reload();
  });
}

/** `nodes` takes what comes out of a template, so that it can be taken away; `needs` and `tags` are those of the mark. */
export async function load(core: Core, element: HTMLElement, nodes: ChildNode[], needs: string[], tags: Tag[]): Promise<void> {
  watch(core);
  mind(core);
  const start = (script: HTMLScriptElement, text = script.textContent!) => {
    ran({ needs, tags }, script.dataset.tag);
    return run(core, script, nodes, text);
  };
  if (element instanceof HTMLScriptElement) return start(element);
  if (!(element instanceof HTMLTemplateElement)) {
    for (const name of SOURCES) {
      const value = sourceOf(element, name);
      if (value) element.setAttribute(name, value);
    }
    return;
  }
  unwrap(element, core.types);
  const content = document.importNode(element.content, true);
  // Its scripts run one after the other, so they go in inert.
  const scripts = graft(element.content, content).filter(({ type }) => !/json|plain/.test(type));
  const texts = scripts.map((script) => {
    const text = script.textContent!;
    script.dataset.type = script.type;
    script.setAttribute("type", "text/plain");
    script.replaceChildren(); // a copy's text is not trusted
    return text;
  });
  nodes.push(...content.childNodes);
  element.after(content);
  for (const script of scripts) await start(script, texts.shift());
}

/** Only a new element runs, and one of HTML, also for one of SVG. It has the nonce of the old one, and no other. */
async function run({ types }: Core, old: HTMLScriptElement, nodes: ChildNode[], text: string): Promise<void> {
  const script = document.createElement("script");
  for (const { name, value } of old.attributes) if (!/^(type|src|nonce)$/.test(name)) script.setAttribute(name, types.createScript(value));
  const src = old.dataset.src ?? old.getAttribute("src") ?? (old as unknown as SVGImageElement).href?.baseVal;
  script.type = old.dataset.type ?? "";
  script.nonce = old.nonce;
  script.text = types.createScript(text);
  script.async = old.hasAttribute("async");
  if (nodes.includes(old)) nodes[nodes.indexOf(old)] = script;
  const ended = new Promise((resolve) => (script.onload = script.onerror = resolve));
  if (src) script.src = types.createScriptURL(src);
  old.replaceWith(script);
  if (src && !script.async) await Promise.race([ended, sleep(LONGEST_WAIT_MS)]);
}
