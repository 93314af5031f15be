/**
 * The declarative gate: what is marked stays inert until each of its categories is granted.
 *
 * It understands the marks of Consentry, Cookiebot, CookieYes, klaro, cookieconsent and orejime.
 * A name that stands for no category is never granted.
 */
import { allGranted, hostOf, tagsOf } from "./tags";
import { types } from "./trusted";
import type { Categories, Policy, Tag } from "./types";
import { sleep } from "./uuid";

export type Names = Record<string, string | string[]>;

/** By precedence; as `data-` attributes. */
const MARKS = ["consent", "cookieconsent", "cookieyes", "cookiecategory", "category", "purpose", "name"];
const FOUND = MARKS.map((mark) => `[data-${mark}]`).join();
const SOURCES = ["src", "srcset", "href"];
const LONGEST_WAIT_MS = 10_000;

interface Held {
  _element: HTMLElement;
  _needs: string[];
  _tags: Tag[];
  /** What came out of a template. */
  _nodes: ChildNode[];
  _ran: boolean;
}

export interface World {
  options: { map?: Names };
  policy: Policy | null;
  _current: Categories;
  answered(): boolean;
  /** Ask in the place of a frame. */
  _placeholder(element: Element, needs: string[]): void;
}

export interface Gate {
  /** Load what may be loaded now. */
  _run(): void;
  /** Make inert what may not stay; how many ran and cannot be told to stop. */
  _revoke(): number;
  _once(element: Element): void;
}

const sourceOf = ({ dataset }: HTMLElement, name: string) => dataset[name] ?? (name === "src" ? dataset.cookieblockSrc : undefined);

/** Whether it is inert by itself; a mark on anything else does nothing. */
const inert = (element: HTMLElement) =>
  element instanceof HTMLTemplateElement ||
  (element instanceof HTMLScriptElement ? element.type === "text/plain" : SOURCES.some((name) => sourceOf(element, name)));

const held = (element: HTMLElement, needs: string[], tags: Tag[]): Held => ({
  _element: element,
  _needs: needs,
  _tags: tags,
  _nodes: [],
  _ran: false,
});

const advanced = (tags: Tag[]) => tags.length > 0 && tags.every(({ mode }) => mode === "advanced");

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

export function createGate(world: World): Gate {
  const loaded = new Map<Element, Held>();
  const seen = new WeakSet<Element>();
  let line = Promise.resolve();

  /** What an element needs; null where it names what the workspace does not have. */
  function read(element: HTMLElement): { _needs: string[]; _not: boolean } | null {
    const known = world.policy!.categories.map(({ id }) => id);
    const text = MARKS.map((mark) => element.dataset[mark]).find((value) => value !== undefined)!;
    // Whatever is empty, or stands for nothing, is no category either.
    const words = text === "ignore" ? [] : text.trim().split(/[\s,]+/);
    const needs = words.flatMap((word) => {
      const name = word.replace(/^(!|cookieyes-)/, "");
      const ids = world.options.map?.[name] ?? name;
      return ids.length ? ids : "";
    });
    if (needs.every((id) => known.includes(id))) return { _needs: needs, _not: text.startsWith("!") };
    if (!seen.has(element)) console.warn(`consentry: no category "${text}"`);
    seen.add(element);
    return null;
  }

  function tagsFor(element: HTMLElement): Tag[] {
    const { tags } = world.policy!;
    const url = sourceOf(element, "src") ?? element.getAttribute("src");
    const { tag } = element.dataset;
    return tag || !url ? tags.filter(({ name }) => name === tag) : tagsOf(tags, hostOf(url));
  }

  /** Null unless it may be loaded now. */
  function wanted(element: HTMLElement): Held | null {
    const found = inert(element) && read(element);
    if (!found) return null;
    const { _needs, _not } = found;
    const tags = tagsFor(element);
    const granted = allGranted(_needs, world._current);
    if (_not ? granted || !world.answered() : !granted && !advanced(tags)) return null;
    return held(element, _not ? [] : _needs, tags);
  }

  async function load(one: Held): Promise<void> {
    const element = one._element;
    loaded.set(element, one);
    if (element instanceof HTMLScriptElement) return run(element, one);
    if (!(element instanceof HTMLTemplateElement)) {
      for (const name of SOURCES) {
        const value = sourceOf(element, name);
        if (value) element.setAttribute(name, value);
      }
      return;
    }
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
    one._nodes = [...content.childNodes];
    element.after(content);
    for (const script of scripts) await run(script, one, texts.shift());
  }

  /** Only a new element runs, and one of HTML, also for one of SVG. It has the nonce of the old one, and no other. */
  async function run(old: HTMLScriptElement, one: Held, text = old.textContent!): Promise<void> {
    const script = document.createElement("script");
    for (const { name, value } of old.attributes) if (!/^(type|src|nonce)$/.test(name)) script.setAttribute(name, types.createScript(value));
    const src = old.dataset.src ?? old.getAttribute("src") ?? (old as unknown as SVGImageElement).href?.baseVal;
    script.type = old.dataset.type ?? "";
    script.nonce = old.nonce;
    script.text = types.createScript(text);
    script.async = old.hasAttribute("async");
    one._ran = true;
    one._nodes = one._nodes.map((node) => (node === old ? script : node));
    const ended = new Promise((resolve) => (script.onload = script.onerror = resolve));
    if (src) script.src = types.createScriptURL(src);
    old.replaceWith(script);
    if (src && !script.async) await Promise.race([ended, sleep(LONGEST_WAIT_MS)]);
  }

  function run_(): void {
    if (!world.policy) return;
    for (const element of document.querySelectorAll<HTMLElement>(FOUND)) {
      if (loaded.has(element)) continue;
      if (wanted(element)) {
        // Its turn comes later, and the question is put again then.
        line = line.then(async () => {
          const one = element.isConnected && !loaded.has(element) && wanted(element);
          if (one) await load(one);
        }).catch(console.error);
      } else if (element.localName === "iframe" && inert(element) && !seen.has(element)) {
        const found = read(element);
        seen.add(element);
        if (found) world._placeholder(element, found._needs);
      }
    }
  }

  function revoke(): number {
    let deaf = 0;
    for (const { _element, _needs, _tags, _nodes, _ran } of [...loaded.values()]) {
      if (allGranted(_needs, world._current) || advanced(_tags)) continue;
      if (_ran && !(_tags.length && _tags.every((tag) => tag.revoke))) deaf += 1;
      if (_element instanceof HTMLScriptElement) continue; // it ran, and nothing undoes that
      for (const node of _nodes) node.remove();
      for (const name of SOURCES) if (sourceOf(_element, name)) _element.removeAttribute(name);
      loaded.delete(_element);
      seen.delete(_element);
    }
    return deaf;
  }

  new MutationObserver((changes) => {
    const added = changes.flatMap(({ addedNodes }) => [...addedNodes]);
    if (added.some((node) => node instanceof Element && (node.matches(FOUND) || node.querySelector(FOUND)))) run_();
  }).observe(document, { childList: true, subtree: true });

  return {
    _run: run_,
    _revoke: revoke,
    _once(element) {
      void load(held(element as HTMLElement, [], []));
    },
  };
}
