/** The second layer: every category by itself, with who is behind it named. */
import type { Action, Categories, PolicyCategory } from "../types";
import { askable, everything, refusedBySignal, signalShown } from "./asked";
import { privacyLink } from "./banner";
import type { Desk } from "./desk";
import { button, make } from "./dom";
import { toggle } from "./toggle";
import { chosenTopics } from "./topics";

const TITLE = "consentry-centre-title";

/** The preference centre, its switches as things stand now. */
export function centreOf(desk: Desk, leave: () => void): HTMLDialogElement {
  const { controller, words } = desk;
  const { policy } = controller;
  const optIn = policy.categories.some(({ essential, regime }) => !essential && regime === "opt_in");
  const label = words.say("action.close");
  const look = { class: "consentry-close", title: label, "aria-label": label };
  const close = make("button", { ...look, type: "button", "data-consentry": "close", click: leave });
  return make(
    "dialog",
    { class: "consentry-centre", "data-consentry": "centre", "aria-modal": "true", "aria-labelledby": TITLE },
    make("div", { class: "consentry-head" }, make("h2", { id: TITLE, tabindex: "-1" }, words.say("centre.title")), close),
    make(
      "div",
      { class: "consentry-body", tabindex: "-1" }, // Firefox stops at whatever can be scrolled
      make("p", {}, words.say(optIn ? "centre.text.opt_in" : "centre.text.opt_out")),
      signal(desk),
      make("ul", { role: "list" }, ...policy.categories.map((category) => row(desk, category))),
      privacyLink(policy.notice.privacyUrl, words.say("action.privacy")),
    ),
    actions(desk),
  );
}

/** What the switches say, for everything that can be answered. One that silence had turned on, and nobody touched, is no yes. */
export function chosen(centre: HTMLElement, { controller }: Desk): Categories {
  const ids = askable(controller.policy).map(({ id }) => id);
  const said = [...switches(centre)].filter(
    ({ value, checked, dataset }) => ids.includes(value) && (!checked || dataset.touched || controller.granted(value)),
  );
  return Object.fromEntries(said.map(({ value, checked }) => [value, checked]));
}

/** Set the switches to what is in force, after it changed elsewhere. */
export function reflect(centre: HTMLElement, categories: Categories): void {
  for (const input of switches(centre)) {
    if (input.disabled) continue;
    input.checked = categories[input.value] === true;
    input.dispatchEvent(new Event("change"));
  }
}

const switches = (centre: HTMLElement) => centre.querySelectorAll<HTMLInputElement>("[data-consentry=switch]");

function actions(desk: Desk): HTMLElement {
  const { controller, words } = desk;
  const press = (name: string, look: string, action: Action, choice: (centre: HTMLElement) => Categories) => {
    const made: HTMLButtonElement = button(name, words.say(`action.${name}`), look, () => {
      const centre = made.closest("dialog");
      if (centre) desk.answer(choice(centre), action, "preference_centre", { topics: chosenTopics(centre, action) });
    });
    return made;
  };
  return make(
    "div",
    { class: "consentry-foot consentry-actions" },
    press("reject", "plain", "reject_all", () => everything(controller, false)),
    press("accept", "plain", "accept_all", () => everything(controller, true)),
    press("save", "strong", "save", (centre) => chosen(centre, desk)),
  );
}

function signal({ controller, words }: Desk): HTMLElement | false {
  const categories = words.names(refusedBySignal(controller));
  return (
    signalShown(controller) &&
    make(
      "div",
      { class: "consentry-signal", "data-consentry": "gpc" },
      make("strong", {}, words.say("gpc.title")),
      make("p", {}, words.say("gpc.text", { categories })),
    )
  );
}

function row(desk: Desk, category: PolicyCategory): HTMLElement {
  const { controller, words } = desk;
  const { id, name, essential, prohibited } = category;
  const about = `consentry-about-${id}`;
  const isNew = controller.asking.why === "changed" && controller.asking.changed.includes(id);
  const reason = note(desk, category);
  const description = words.description(category);
  return make(
    "li",
    { "data-consentry": "category", "data-consentry-category": id },
    make(
      "label",
      {},
      make(
        "span",
        { class: "consentry-name" },
        name,
        isNew && make("span", { class: "consentry-new" }, words.say("category.new")),
      ),
      ...switchOf(desk, category, about),
    ),
    make(
      "div",
      { id: about },
      description && make("p", {}, description),
      reason && make("p", { class: "consentry-note" }, reason),
    ),
    !(essential || prohibited) && behind(desk, category),
  );
}

function note({ controller, words }: Desk, category: PolicyCategory): string {
  if (category.prohibited) return words.say("category.prohibited");
  return refusedBySignal(controller).includes(category) ? words.say("category.gpc") : "";
}

/** The switch and its state in words; nothing is on that is not in force. */
function switchOf(desk: Desk, category: PolicyCategory, about: string): HTMLElement[] {
  const { controller, words } = desk;
  const { id, essential, prohibited } = category;
  const attributes = {
    value: id,
    "data-consentry": "switch",
    "aria-describedby": about,
    disabled: essential || prohibited,
    checked: essential || (!prohibited && controller.categories()[id] === true),
  };
  const [state, input] = toggle(words, attributes, essential);
  input.addEventListener("change", ({ isTrusted }) => isTrusted && (input.dataset.touched = "true"));
  return [state, input];
}

/** The destinations and tags that a yes opens. */
function behind({ controller, words }: Desk, category: PolicyCategory): HTMLElement {
  const label = words.say("category.details");
  const summary = make("summary", { "aria-label": `${label}: ${category.name}` }, label);
  const tags = category.tags.map((name) => {
    const tag = controller.policy.tags.find((known) => known.name === name);
    const hosts = tag?.hosts.length ? ` (${tag.hosts.join(", ")})` : "";
    return name + hosts;
  });
  const parts = [named("destinations", category.destinations), named("tags", tags)].filter(Boolean);
  return make(
    "details",
    {},
    summary,
    ...(parts.length ? parts : [make("p", {}, words.say("category.nobody"))]),
  );

  function named(kind: string, names: string[]): HTMLElement | null {
    if (!names.length) return null;
    const items = names.map((name) => make("li", {}, name));
    return make("div", {}, make("strong", {}, words.say(`category.${kind}`)), make("ul", {}, ...items));
  }
}
