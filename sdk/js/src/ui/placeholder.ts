/** What stands in the place of a gated iframe, or of a template that holds one: from whom it is, what it needs, once or always. */
import type { PolicyCategory } from "../types";
import { askable, refusedBySignal } from "./asked";
import type { Desk } from "./desk";
import { button, make } from "./dom";

/** Of several hosts as many are named as fit into a record. */
const LONGEST_HOST = 1000;

/** The control for an element that needs these categories. */
export function placeholderOf(desk: Desk, element: Element, needed: PolicyCategory[]): HTMLElement {
  const { controller, words } = desk;
  const prohibited = needed.some((category) => category.prohibited);
  const yes = askable(controller.policy).filter((category) => needed.includes(category));
  const inside = element instanceof HTMLTemplateElement ? element.content : null;
  const sources = inside ? [...inside.querySelectorAll("[src],[data-src]")] : [element];
  const host = [...new Set(sources.map(hostOf))].filter(Boolean).join(", ").slice(0, LONGEST_HOST);
  const categories = words.names(needed);
  const text = host ? words.say("placeholder.text", { host, categories }) : categories;
  // A policy of the server follows what is kept, and a page that is here keeps the policy that it came with.
  const bound = controller.policy.pagePolicy === true;
  // A script that ran cannot be taken out again.
  const passing = !bound && !inside?.querySelector("script");
  const once = button("once", words.say("placeholder.once"), "strong", () => {
    desk.uncover(element);
    controller.once(element);
  });
  const always = button("always", words.say("placeholder.always"), "strong", () =>
    desk.answer(Object.fromEntries(yes.map(({ id }) => [id, true])), "save", "placeholder", { host }),
  );
  // A yes is to everybody behind the category: who that is stands in the centre.
  const who: HTMLButtonElement = button("behind", words.say("category.details"), "plain", () => desk.choose(who));
  who.setAttribute("aria-haspopup", "dialog");
  const title = words.say("placeholder.title");
  const box = make(
    "div",
    { class: "consentry-placeholder", role: "group", "aria-label": title, "data-consentry": "placeholder" },
    make("strong", {}, title),
    make("p", {}, prohibited ? words.say("category.prohibited") : text),
    refusedBySignal(controller).some((category) => yes.includes(category)) && make("p", {}, words.say("category.gpc")),
    !prohibited && yes.length > 0 && bound && make("p", {}, words.say("placeholder.policy")),
    !prohibited && yes.length > 0 && make("div", { class: "consentry-actions" }, passing && once, always, who),
  );
  takeSize(box, inside?.querySelector("iframe") ?? element);
  return box;
}

/** The box is as large as what it stands for, so that nothing jumps when that comes. */
function takeSize(box: HTMLElement, element: Element): void {
  for (const [attribute, property] of [["width", "width"], ["height", "min-height"]] as const) {
    const pixels = /^\d+(?=(px)?$)/.exec(element.getAttribute(attribute) ?? "")?.[0];
    if (pixels) box.style.setProperty(property, `${pixels}px`);
  }
}

function hostOf(source: Element): string {
  for (const name of ["data-src", "data-cookieblock-src", "src"]) {
    const address = source.getAttribute(name);
    if (!address) continue;
    try {
      return new URL(address, location.href).hostname;
    } catch {
      return "";
    }
  }
  return "";
}
