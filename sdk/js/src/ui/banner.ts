/**
 * The first layer. Accept and reject are made by the same line of code: same element, same look, one
 * activation each.
 */
import { asked, everything, refusedBySignal, signalShown } from "./asked";
import { button, make } from "./dom";
import type { Desk } from "./desk";

const TITLE = "consentry-title";
const TEXT = "consentry-text";

/** The banner in the layout of the notice: a region of the page, or a dialog that waits for an answer. */
export function bannerOf(desk: Desk): HTMLElement {
  const { layout } = desk.controller.policy.notice;
  const modal = layout === "modal";
  const properties = {
    class: `consentry-banner consentry-${layout}`,
    "data-consentry": "banner",
    "aria-labelledby": TITLE,
    "aria-describedby": modal && TEXT,
    "aria-modal": modal && "true",
  };
  return make(modal ? "dialog" : "section", properties, told(desk), actions(desk));
}

function told(desk: Desk): HTMLElement {
  const { controller, words } = desk;
  const heading = make("h2", { id: TITLE, tabindex: "-1" }, words.say("banner.title"));
  const texts = sentences(desk).map((text) => make("p", {}, text));
  const link = privacyLink(controller.policy.notice.privacyUrl, words.say("action.privacy"));
  return make("div", { class: "consentry-told", id: TEXT }, heading, ...texts, link && make("p", {}, link));
}

/** What is asked and why it is asked now, in the order in which it matters. */
function sentences({ controller, words }: Desk): string[] {
  const { policy, asking } = controller;
  const changed = policy.categories.filter((category) => asking.changed.includes(category.id));
  const refused = refusedBySignal(controller);
  const open = asked(controller).filter((category) => !refused.includes(category));
  const said: string[] = [];
  const say = (key: string, categories: typeof open) => {
    if (categories.length) said.push(words.say(key, { categories: words.names(categories) }));
  };
  if (asking.why === "changed" && !changed.length) said.push(words.say("banner.notice"));
  if (asking.why === "changed") say("banner.changed", changed);
  if (asking.why === "expired") said.push(words.say("banner.expired"));
  say("banner.text.opt_in", open.filter((category) => category.regime === "opt_in"));
  say("banner.text.opt_out", open.filter((category) => category.regime !== "opt_in"));
  if (signalShown(controller)) said.push(`${words.say("gpc.title")}.`);
  say("gpc.text", refused);
  return said;
}

function actions(desk: Desk): HTMLElement {
  const { controller, words } = desk;
  const about = asked(controller);
  const answer = (name: "accept" | "reject") =>
    button(name, words.say(`action.${name}`), "strong", () =>
      desk.answer(everything(controller, name === "accept", about), `${name}_all`, "banner"),
    );
  const choose: HTMLButtonElement = button("choose", words.say("action.choose"), "plain", () =>
    desk.choose(choose),
  );
  choose.setAttribute("aria-haspopup", "dialog");
  return make("div", { class: "consentry-actions" }, answer("reject"), answer("accept"), choose);
}

/** A link to the privacy policy; null where there is none, or none that a browser opens as a page. */
export function privacyLink(address: string | null, label: string): HTMLElement | null {
  if (!address) return null;
  const url = new URL(address, location.href);
  if (!/^https?:$/.test(url.protocol)) return null;
  return make("a", { href: url.href, "data-consentry": "privacy" }, label);
}
