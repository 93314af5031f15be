/**
 * The declarative gate: what is marked stays inert until each of its categories is granted.
 *
 * It understands the marks of Consentry, Cookiebot, CookieYes, klaro, cookieconsent and orejime.
 * A name that stands for no category is never granted.
 */
import type { Answer } from "./cookie";
import type { Core } from "./core";
import { allGranted, hostOf, tagsOf } from "./tags";
import { SOURCES, sourceOf } from "./load";
import type { Tag } from "./types";

export type Names = Record<string, string | string[]>;

/** By precedence; as `data-` attributes. */
const MARKS = ["consent", "cookieconsent", "cookieyes", "cookiecategory", "category", "purpose", "name"];
const FOUND = MARKS.map((mark) => `[data-${mark}]`).join();

interface Held {
  _element: HTMLElement;
  _needs: string[];
  _tags: Tag[];
  /** What came out of a template. */
  _nodes: ChildNode[];
  /** Loaded once, without its categories being granted: the answer of that moment. It ends with the next one. */
  _once?: Answer | null;
}

export interface Gate {
  /** Load what may be loaded now. */
  _run(): void;
  /** Make inert what may not stay. */
  _revoke(): void;
  _once(element: Element): void;
}

/** Whether it is inert by itself; a mark on anything else does nothing. */
const inert = (element: HTMLElement) =>
  element instanceof HTMLTemplateElement ||
  (element instanceof HTMLScriptElement ? element.type === "text/plain" : SOURCES.some((name) => sourceOf(element, name)));

const held = (element: HTMLElement, needs: string[], tags: Tag[]): Held => ({
  _element: element,
  _needs: needs,
  _tags: tags,
  _nodes: [],
});

const advanced = (tags: Tag[]) => tags.length > 0 && tags.every(({ mode }) => mode === "advanced");

export function createGate(world: Core): Gate {
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

  /** Its turn comes later, and the question is put again then. */
  function load(find: () => Held | null | false): void {
    line = line.then(async () => {
      const { load } = await world.more();
      const one = find();
      if (!one) return;
      loaded.set(one._element, one);
      await load(world, one._element, one._nodes, one._needs, one._tags);
    }).catch(console.error);
  }

  function run_(): void {
    if (!world.policy) return;
    for (const element of document.querySelectorAll<HTMLElement>(FOUND)) {
      if (loaded.has(element)) continue;
      if (wanted(element)) {
        load(() => element.isConnected && !loaded.has(element) && wanted(element));
      } else if (element.matches("iframe,template") && /<iframe/i.test(element.outerHTML) && inert(element) && !seen.has(element)) {
        const found = read(element);
        seen.add(element);
        if (found) world._placeholder(element, found._needs);
      }
    }
  }

  function revoke(): void {
    for (const { _element, _needs, _tags, _nodes, _once } of [...loaded.values()]) {
      if (allGranted(_needs, world._current) || advanced(_tags) || _once === world._answer) continue;
      if (_element instanceof HTMLScriptElement) continue; // it ran, and nothing undoes that
      for (const node of _nodes) node.remove();
      for (const name of SOURCES) if (sourceOf(_element, name)) _element.removeAttribute(name);
      loaded.delete(_element);
      seen.delete(_element);
    }
  }

  new MutationObserver((changes) => {
    const added = changes.flatMap(({ addedNodes }) => [...addedNodes]);
    if (added.some((node) => node instanceof Element && (node.matches(FOUND) || node.querySelector(FOUND)))) run_();
  }).observe(document, { childList: true, subtree: true });

  return {
    _run: run_,
    _revoke: revoke,
    _once(element) {
      const _once = world._answer;
      const needs = read(element as HTMLElement)?._needs ?? [""];
      load(() => {
        window.consentryGuard?.(world.policy!.tags, world._current, element);
        return _once === world._answer && { ...held(element as HTMLElement, needs, []), _once };
      });
    },
  };
}
