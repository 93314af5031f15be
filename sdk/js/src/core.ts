/** The page's side of consent: the answer, what is in force, and everything that must follow it. */
import { asking, inForce, no, noticeOf, open } from "./ask";
import { ALL, type Answer, UNTOLD, cookies, readAnswer, writeAnswer } from "./cookie";
import { type Gate, type Names, createGate } from "./gate";
import type { More } from "./more";
import { fetchPolicy } from "./policy";
import { type Letter, keep, post } from "./queue";
import { type GoogleKeys, signalDefault, signalUpdate } from "./signals";
import { allGranted } from "./tags";
import { types } from "./trusted";
import type { Action, Asking, Categories, Evidence, Policy, Tag, Ui } from "./types";
import type { StartUi } from "./ui-entry";
import { sleep, uuid } from "./uuid";

export interface Options {
  /** The source's public write key. */
  key: string;
  /** Where the server is; the script's own origin, if nothing is said. */
  api?: string;
  /** Where the browser files are, with a slash at the end. */
  files?: string;
  language?: string;
  nonce?: string;
  /** Other tools' names for categories: `{statistics: "analytics"}`. */
  map?: Names;
  /** Which Consent Mode keys a category stands for, where its id does not say. */
  google?: GoogleKeys;
  /** What stops a tag that is running, by the tag's name. */
  revoke?: Record<string, () => void>;
  /** Whether the page may be loaded anew where a tag cannot be stopped; true, if nothing is said. */
  reload?: boolean;
  anonymousId?: string;
}

export type Token = string | (() => string | Promise<string>);
/** `here` is true where the answer was given in this page. */
type Listener = (categories: Categories, here: boolean) => void;

declare global {
  interface Window {
    /** `once` is let through whatever it asks for, until it is called again. */
    consentryGuard?: (tags: Tag[], categories: Categories, once?: Element) => void;
  }
}

const LOOK_MS = 1000;
const MOST_HELD = 100;
/** A page's own way back to what was answered. */
const OPENER = "[data-consentry-open]";
/** A policy document is asked for again after this, as browsers keep it. */
const FRESH_MS = 300_000;
/** How long a withdrawal waits for the file that deletes and sends. */
const PATIENCE_MS = 2_000;
const now = () => Math.floor(Date.now() / 1000);

export class Core {
  readonly ready: Promise<void>;
  readonly types = types;
  options!: Options;
  policy: Policy | null = null;
  id = "";
  /** Choices that the storage did not take. */
  readonly unsent: Record<string, string> = {};
  /** Whether something was granted in this page. */
  grantedHere = false;
  user: { id: string; token: Token } | null = null;
  _current: Categories = {};
  _answer: Answer | null = null;
  /** Refused on another device. */
  against: string[] = [];
  private _gate!: Gate;
  private _listeners = new Set<Listener>();
  private _held: [test: () => boolean | null, call: () => void][] = [];
  private _files: Record<string, Promise<unknown> | undefined> = {};
  private _landed: Record<string, (what: unknown) => void> = {};
  private _ui: Promise<Ui> | null = null;
  private _arrived!: () => void;
  private _asked = 0;

  readonly url = (path: string): string => `${this.options.api}/v1/${path}`;

  constructor() {
    this.ready = new Promise((resolve) => (this._arrived = resolve));
    signalDefault();
  }

  /** Begin. The first call counts. */
  async start(options: Options): Promise<void> {
    if (this.options) return;
    this.options = options;
    this._answer = readAnswer(now());
    const segment = cookies().find(([name]) => name === "ajs_anonymous_id")?.[1].replace(/%22|"/g, "");
    this.id = this._answer?._id || options.anonymousId || segment || uuid();
    this._gate = createGate(this);
    if (this._answer) void this.more(); // while the policy comes
    await this._fetch();
    this._begin();
    // An answer in another tab waits in the storage before it is sent, and so it is heard of.
    for (const event of ["pageshow", "storage"]) addEventListener(event, () => this.look());
    // A tab on another name of the site shares the cookie alone, and nothing tells that a grant has expired.
    setInterval(() => this.look(), LOOK_MS);
    addEventListener("click", ({ target }) => {
      const opener = (target as Element).closest?.(OPENER);
      if (opener) void this.open(opener);
    });
  }

  private async _fetch(): Promise<void> {
    const { key, language } = this.options;
    const get = (cache?: RequestCache) => fetchPolicy(this.url(`projects/${encodeURIComponent(key)}/policy`), language, cache);
    this._asked = Date.now();
    const found = await get();
    // The browser may have kept it since before what was answered; then whatever it says is old.
    const said = readAnswer(now())?._notice;
    this.policy = said && said !== noticeOf(found) ? await get("no-cache") : found;
  }

  private _begin(): void {
    const found = (this._answer = readAnswer(now()));
    this.id = found?._id || this.id;
    const seen = this.gpc() && found && !found._gpcAt;
    if (seen) this._put({ ...found, _gpcAt: Math.max(now(), found._at + 1) });
    this.enforce();
    this._arrived();
    if (found) void this.more().then(({ begin }) => begin(this, !!seen));
    if (found?._denied.includes(UNTOLD)) void this.withdraw(found._denied);
    if (document.body) this._show();
    else addEventListener("DOMContentLoaded", () => this._show());
  }

  /** Without a question there is still the way back, and a signal that is honoured, to be shown. */
  private _show(): void {
    if (this.asking() || this.gpc() || !document.querySelector(OPENER)) {
      void this._controls().then((ui) => this.asking() && ui.banner());
    }
  }

  asking(): Asking | null {
    return asking(this.policy!, this._answer, now());
  }

  // -- what a page asks ---------------------------------------------------------------------------
  readonly categories = (): Categories => {
    return { ...this._current };
  };

  answered(): boolean {
    return !!this.policy && !!this._answer && !this.asking();
  }

  readonly model = (): "opt-in" | "opt-out" => {
    return this.policy && this.policy.regime !== "opt_in" ? "opt-out" : "opt-in";
  };

  /** As the browser says, or its requests do. Older browsers expose a text. */
  gpc(): boolean {
    return !!this.policy?.gpc.honoured || /^(true|1)$/.test((navigator as { globalPrivacyControl?: unknown }).globalPrivacyControl as string);
  }

  once(element: Element): void {
    this._gate._once(element);
  }

  /** Whether something holds; null while that may still come. A no to one of `ids` is one. */
  verdict(holds: boolean, ids: string[] = []): boolean | null {
    return holds || (this.answered() || ids.some((id) => this._answer && no(this._answer, id)) ? false : null);
  }

  /** Do it once the test says yes, drop it once it says no. A hundred can wait. */
  hold(test: () => boolean | null, call: () => void): boolean {
    const verdict = test();
    if (verdict) call();
    if (verdict === null && this._held.length < MOST_HELD) return !!this._held.push([test, call]);
    return !!verdict;
  }

  readonly onChange = (listener: Listener): (() => void) => {
    this._listeners.add(listener);
    return () => this._listeners.delete(listener);
  };

  /** Who is signed in, and what proves it; without it nobody is any more. */
  readonly identify = (id?: string, token?: Token): void => {
    this.user = id && token ? { id, token } : null;
    if (this.user) void this.ready.then(() => this.more()).then(({ follow }) => follow(this));
  };

  // -- an answer ----------------------------------------------------------------------------------
  /** In force when this returns; sent when the server can be reached. What is not named stays as it is, unasked too. */
  answer(choice: Categories, action: Action, from?: Evidence): void {
    const policy = this.policy!;
    const old = readAnswer(now()); // another tab may have answered
    const ids = policy.categories.filter(open).map(({ id }) => id);
    const named = ids.filter((id) => choice[id] != null);
    if (!named.length) return;
    const granted = named.filter((id) => choice[id] === true);
    const rest = (before: string[] = []) => before.filter((id) => id !== UNTOLD && !named.includes(id));
    // The cookie has one time for all: an older grant that stays must not become younger.
    const made = (still: string[]): Answer => ({
      _id: this.id,
      _notice: still[0] ? old!._notice : noticeOf(policy),
      _at: still[0] ? old!._at : now(),
      _granted: [...still, ...granted],
      _denied: [...rest(old?._denied.includes(ALL) ? ids : old?._denied), ...named.filter((id) => !granted.includes(id))],
      _gpcAt: old?._gpcAt || (+this.gpc() && now()),
    });
    const whole = made(rest(old?._granted));
    const holds = inForce(policy, whole, this.gpc(), now());
    // Where a grant of now would not hold with that time, the older ones go, and are asked about again.
    this._put(allGranted(granted, holds) ? whole : made([]));
    this.against = this.against.filter((id) => !granted.includes(id));
    this.grantedHere ||= granted.length > 0;
    this.send({ preferences: Object.fromEntries(named.map((id) => [id, granted.includes(id)])) }, action, from);
    this.enforce(true);
  }

  private _put(answer: Answer): void {
    this._answer = answer;
    writeAnswer(answer, this.policy?.cookie ?? { domain: null, days: 365 });
  }

  /**
   * Make the cookie last. `echo`: a reply has brought it back as it was sent, so what is known here since holds.
   * Any other that differs is of another tab, and stands.
   */
  keep(echo?: boolean): void {
    if (!echo) this.look();
    if (this._answer?._at) this._put(this._answer); // one that could not be read stays as it is
  }

  /** Keep what was said until the server has it. */
  send(said: object, action: Action, from?: Evidence): void {
    const timestamp = new Date().toISOString();
    const page = location.origin + location.pathname;
    const evidence = { action, surface: "api", ...from, page, sdkVersion: VERSION };
    // A repetition is sent as it was, sentAt included, so that its key holds.
    const subject = { anonymousId: this.id, userId: this.user?.id };
    const body = { subject, ...said, timestamp, sentAt: timestamp, evidence, writeKey: this.options.key };
    this._flush(keep(body, this.unsent));
  }

  /** Where the file that sends does not come, it is sent once from here, and again by a later page. */
  private _flush(letter: Letter): void {
    this._soon().then(({ flush }) => flush(this), () => post(this.url("consent"), letter)).catch(() => {});
  }

  readonly withdraw = async (ids = [ALL], from?: Evidence): Promise<void> => {
    const early = this._early(ids);
    await this.ready;
    const { user, policy } = this;
    const refuse = (names: string[]) => Object.fromEntries(names.map((name) => [name, false]));
    if (!early) this.answer(refuse(Object.keys(this._current).filter((id) => no({ _denied: ids }, id))), "withdraw", from);
    // All: what is sent to the account too, also what is added later.
    const channels = policy!.topics.flatMap((topic) => topic.channels);
    if (user && channels[0] && ids.join() === ALL) this.send({ subject: { userId: user.id }, preferences: {}, channels: refuse(channels) }, "withdraw", from);
  };

  /** A no before the policy is here is kept at once; the first page that has one tells the server. */
  _early(ids: string[]): boolean {
    if (this.policy || !this.options || !ids[0]) return false;
    this.deny([...ids, UNTOLD]);
    return true;
  }

  /** Kept at once, of somebody too who has not answered here. */
  deny(ids: string[]): void {
    const old = this._answer;
    const _granted = old?._granted.filter((id) => !no({ _denied: ids }, id)) ?? [];
    this._put({ _id: this.id, _notice: "", _at: now(), _gpcAt: 0, ...old, _granted, _denied: [...(old?._denied ?? []), ...ids] });
  }

  /** What the cookie says now: the answer may be of another tab, or may have expired. */
  look(): void {
    const found = readAnswer(now());
    const news = JSON.stringify(found) !== JSON.stringify(this._answer);
    if (news) this._answer = found;
    this.id = found?._id || this.id;
    this.enforce();
    if (news && !this.asking()) void this._ui?.then((ui) => ui.close());
    const other = news && found?._at && found._notice !== noticeOf(this.policy!);
    if (!document.hidden && (other || Date.now() - this._asked > FRESH_MS)) void this._renew();
  }

  /** A page that lies open for long would act on an old policy. */
  private async _renew(): Promise<void> {
    const { hash } = this.policy!.notice;
    await this._fetch();
    if (this.policy!.notice.hash !== hash) await this._ui?.then((ui) => ui.close());
    this.enforce();
    this._show();
  }

  /** What is in force changes here and nowhere else. The order is that of a withdrawal. */
  enforce(here = false): void {
    const { tags } = this.policy!;
    const before = this._current;
    const after = inForce(this.policy!, this._answer, this.gpc(), now(), this.against);
    this._current = after;
    const ids = Object.keys(after);
    const started = ids.some((id) => id in before); // to learn what held all along is no change
    if (started && !here && ids.every((id) => before[id] === after[id])) return this._gate._revoke(), this._settle();
    const lost = ids.filter((id) => before[id] && !after[id]);
    attempt(() => signalUpdate(this.categories(), this.options.google));
    if (started) this._listeners.forEach((listener) => attempt(() => listener(this.categories(), here)));
    for (const { name, categories } of tags) {
      if (categories.some((id) => lost.includes(id))) attempt(() => this.options.revoke?.[name]?.());
    }
    window.consentryGuard?.(tags, after);
    this._gate._revoke();
    // What a refused tag stored is deleted, also what it stored again since.
    if (lost[0] || tags.some((tag) => tag.cookies[0] && !allGranted(tag.categories, after))) void this._soon().then(({ forget }) => forget(this, lost, here));
    this._settle();
    if (started) document.dispatchEvent(new CustomEvent("consentry:change", { detail: { categories: this.categories() } }));
  }

  /** What may go now goes; what waits for an answer that came and was no is dropped. */
  private _settle(): void {
    this._gate._run();
    for (const [test, call] of this._held.splice(0)) attempt(() => this.hold(test, call));
  }

  // -- the other files ----------------------------------------------------------------------------
  readonly open = async (opener?: Element | null): Promise<void> => {
    await this.ready;
    (await this._controls()).centre(opener);
  };

  _placeholder(element: Element, needs: string[]): void {
    void this._controls().then((ui) => ui.placeholder(element, needs));
  }

  more(): Promise<More> {
    return this._file("more") as Promise<More>;
  }

  /** That file, or a failure if it does not come. */
  private _soon(): Promise<More> {
    return Promise.race([this.more(), sleep(PATIENCE_MS).then(() => Promise.reject())]);
  }

  private _controls(): Promise<Ui> {
    void this.more(); // an answer may follow
    return (this._ui ??= this._file("ui").then(
      (start) => (start as StartUi)(this),
      () => Promise.reject((this._ui = null)),
    ));
  }

  /** One of the other files; what it offers it hands over by `land`. */
  private _file(name: string): Promise<unknown> {
    return (this._files[name] ??= new Promise((resolve, reject) => {
      const script = document.createElement("script");
      this._landed[name] = resolve;
      script.src = types.createScriptURL(`${this.options.files}consentry-${name}.js`);
      script.nonce = this.options.nonce ?? "";
      // The next who needs it tries again.
      script.onerror = () => reject((this._files[name] = undefined));
      document.head.append(script);
    }));
  }

  readonly land = (name: string, what: unknown): void => {
    this._landed[name]?.(what);
  };
}

/** One listener that fails may not keep the rest from being told. */
function attempt(call: () => void): void {
  try {
    call();
  } catch (error) {
    console.error(error);
  }
}
