/**
 * What asks the person: banner, preference centre, placeholders and the way back. It decides nothing and
 * stores nothing. Whatever is left without an answer grants nothing.
 */
import type { Action, Beside, Categories, Controller, Mount, Surface, Ui } from "../types";
import { unwrap } from "../unwrap";
import { askable, signalShown } from "./asked";
import { bannerOf } from "./banner";
import { centreOf, reflect } from "./centre";
import type { Desk } from "./desk";
import { make } from "./dom";
import { hideModal, showModal } from "./modal";
import { placeholderOf } from "./placeholder";
import { channelsOf, topicsOf } from "./topics";
import { Words } from "./words";

const HEIGHT = "--consentry-height";

class Controls implements Ui, Desk {
  readonly words: Words;
  /** Early in the document, so that what asks is met first, and the focus goes on from there. */
  private readonly top: HTMLElement;
  /** The way back, at the end of the document. */
  private readonly back: HTMLElement;
  private readonly said = make("p", { class: "consentry-said", role: "status" });
  private shown: HTMLElement | null = null;
  private open: HTMLDialogElement | null = null;
  private opener: Element | null = null;
  private readonly covered = new Map<Element, { box: HTMLElement; needed: string[] }>();
  private readonly size = new ResizeObserver(() => this.measure());

  constructor(readonly controller: Controller) {
    this.words = new Words(controller);
    this.top = this.root();
    this.back = wayBack(this, () => this.centre(this.back.querySelector("button")));
    const end = this.root();
    end.append(this.back, this.said);
    document.body.prepend(this.top);
    document.body.append(end);
    controller.onChange((categories) => this.changed(categories));
    this.showWayBack();
    // What was not read yet may hold a way back of the page's own.
    document.addEventListener("DOMContentLoaded", () => this.showWayBack());
    document.addEventListener("focusin", ({ target }) => requestAnimationFrame(() => this.makeWay(target as Element)));
  }

  banner(): void {
    if (this.shown) return;
    this.shown = bannerOf(this);
    this.top.append(this.shown);
    this.size.observe(this.shown);
    const leave = () => this.leaveBanner();
    if (this.shown instanceof HTMLDialogElement) showModal(this.shown, leave);
    else this.shown.addEventListener("keydown", (event) => event.key === "Escape" && leave());
    this.controller.noted("shown", "banner");
    this.showWayBack();
  }

  centre(opener: Element | null = document.activeElement): void {
    if (this.open) return;
    this.opener = opener;
    const centre = (this.open = centreOf(this, () => this.leaveCentre()));
    this.top.append(centre);
    this.behind(true);
    showModal(centre, () => this.leaveCentre());
    this.controller.noted("shown", "preference_centre");
    // They are asked for only now, and below everything that is there already.
    void this.controller.topics().then((held) => {
      if (held) centre.querySelector(".consentry-body > ul")?.after(topicsOf(this, held), channelsOf(this));
    });
  }

  placeholder(element: Element, categories: string[]): void {
    if (this.covered.has(element)) return;
    unwrap(element, this.controller.types);
    // The loader saw the word alone; in a text or a <noscript> it is no frame.
    if (element instanceof HTMLTemplateElement && !element.content.querySelector("iframe")) return;
    const needed = this.controller.policy.categories.filter(({ id }) => categories.includes(id));
    const box = this.root();
    box.append(placeholderOf(this, element, needed));
    element.before(box);
    if (element instanceof HTMLElement) element.hidden = true;
    this.covered.set(element, { box, needed: categories });
  }

  close(): void {
    this.takeCentreDown();
    this.takeBannerDown();
    this.showWayBack();
  }

  choose(opener: HTMLElement): void {
    this.centre(opener);
  }

  answer(choice: Categories, action: Action, surface: Surface, beside?: Beside): void {
    const answered = this.controller.answer(choice, action, surface, beside);
    if (surface !== "placeholder") this.close();
    void answered.then(
      () => this.say("centre.saved"),
      () => undefined, // nothing is claimed that was not done
    );
  }

  uncover(element: Element): void {
    this.covered.get(element)?.box.remove();
    this.covered.delete(element);
    if (element instanceof HTMLElement) element.hidden = false;
  }

  /** Something changed, here, in another tab or on another device. */
  private changed(categories: Categories): void {
    if (this.open) reflect(this.open, categories);
    if (this.controller.answered()) this.takeBannerDown();
    for (const [element, { needed }] of this.covered)
      if (needed.every((id) => categories[id] === true)) this.uncover(element);
    this.showWayBack();
  }

  private leaveBanner(): void {
    this.takeBannerDown();
    this.controller.noted("closed", "banner");
    this.showWayBack();
  }

  private leaveCentre(): void {
    this.takeCentreDown();
    this.controller.noted("closed", "preference_centre");
  }

  private takeBannerDown(): void {
    const banner = this.shown;
    if (!banner) return;
    this.shown = null;
    this.size.unobserve(banner);
    document.documentElement.style.removeProperty(HEIGHT);
    if (banner instanceof HTMLDialogElement) hideModal(banner, null);
    else banner.remove();
  }

  private takeCentreDown(): void {
    const centre = this.open;
    if (!centre) return;
    this.open = null;
    this.behind(false);
    hideModal(centre, this.opener);
  }

  private behind(hidden: boolean): void {
    this.shown?.classList.toggle("consentry-behind", hidden);
  }

  /** A banner at the edge must not cover what has the focus: the page scrolls that much further. */
  private measure(): void {
    const banner = this.shown;
    if (!banner || banner instanceof HTMLDialogElement) return;
    document.documentElement.style.setProperty(HEIGHT, `${banner.offsetHeight}px`);
  }

  /** Not beside a banner, nor where the page has a way back of its own and nothing has to be shown. */
  private showWayBack(): void {
    const signal = signalShown(this.controller);
    const own = document.querySelector("[data-consentry-open]") || !askable(this.controller.policy).length;
    this.back.hidden = !!this.shown || (!!own && !signal);
    this.back.querySelector<HTMLElement>(".consentry-honoured")!.hidden = !signal;
  }

  /** What has the focus is not under the way back either: that steps aside, and can still be reached. */
  private makeWay(focused: Element): void {
    const [its, mine] = [focused.getBoundingClientRect(), this.back.getBoundingClientRect()];
    const apart =
      its.right < mine.left || its.left > mine.right || its.bottom < mine.top || its.top > mine.bottom;
    this.back.classList.toggle("consentry-aside", !apart && !this.back.contains(focused));
  }

  private say(key: string): void {
    this.said.textContent = this.words.say(key);
  }

  private root(): HTMLElement {
    const { language, direction, notice } = this.controller.policy;
    return make("div", {
      class: "consentry",
      lang: language,
      dir: direction,
      "data-consentry-theme": notice.theme,
    });
  }
}

/** The permanent way back: a small button at the edge. */
function wayBack({ words }: Desk, press: () => void): HTMLElement {
  const label = words.say("centre.open");
  const signal = make("span", { class: "consentry-honoured" }, words.say("gpc.title"));
  const open = make(
    "button",
    { type: "button", "data-consentry": "open", "aria-haspopup": "dialog", click: press },
    make("span", { class: "consentry-icon", "aria-hidden": "true" }),
    make("span", { class: "consentry-label" }, label),
    signal,
  );
  return make("section", { class: "consentry-reopen", "aria-label": label }, open);
}

export const mount: Mount = (controller) => new Controls(controller);
