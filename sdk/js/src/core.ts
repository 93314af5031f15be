/** The page's side of consent: the answer, what is in force, and everything that must follow it. */
import { asking, inForce, noticeOf, open } from "./ask";
import { type Answer, cookies, parse, readAnswer, serialise, writeAnswer } from "./cookie";
import { type Gate, type Names, type World, createGate } from "./gate";
import type { More } from "./more";
import { fetchPolicy } from "./policy";
import { type Queue, createQueue, letterOf } from "./queue";
import { type GoogleKeys, signalDefault, signalUpdate } from "./signals";
import { createTabs } from "./tabs";
import { allGranted } from "./tags";
import { types } from "./trusted";
import type { Action, Asking, Categories, Policy, Surface, Tag, Ui } from "./types";
import type { StartUi } from "./ui-entry";
import { uuid } from "./uuid";

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
    consentryGuard?: (tags: Tag[], categories: Categories) => void;
  }
}

const MOST_HELD = 100;
/** A page's own way back to what was answered. */
const OPENER = "[data-consentry-open]";
const now = () => Math.floor(Date.now() / 1000);
export class Core implements World {
  readonly ready: Promise<void>;
  readonly queue: Queue = createQueue();
  options!: Options;
  policy: Policy | null = null;
  id = "";
  user: { id: string; token: Token } | null = null;
  _current: Categories = {};
  private _answer: Answer | null = null;
  private _against: string[] = [];
  private _gate!: Gate;
  private _tell!: (text: string) => void;
  private _listeners = new Set<Listener>();
  private _held: [test: () => boolean | null, call: () => void][] = [];
  private _files: Record<string, Promise<unknown> | undefined> = {};
  private _landed: Record<string, (what: unknown) => void> = {};
  private _ui: Promise<Ui> | null = null;
  private _arrived!: () => void;

  readonly url = (path: string): string => `${this.options.api}/v1/${path}`;

  constructor() {
    this.ready = new Promise((resolve) => (this._arrived = resolve));
    signalDefault();
  }

  /** Begin. The first call counts. */
  async start(options: Options): Promise<void> {
    if (this.options) return;
    this.options = options;
    this._tell = createTabs((text) => this._take(parse(text, now())));
    this._gate = createGate(this);
    const get = (cache?: RequestCache) =>
      fetchPolicy(this.url(`projects/${encodeURIComponent(options.key)}/policy`), options.language, cache);
    const found = await get();
    // The browser may have kept it since before what was answered; then whatever it says is old.
    const said = readAnswer(now())?._notice;
    this.policy = said && said !== noticeOf(found) ? await get("no-cache") : found;
    this._begin();
    // An answer elsewhere is written to the storage too, which is how a browser without channels hears of it.
    for (const event of ["pageshow", "visibilitychange", "storage"]) addEventListener(event, () => this._take(readAnswer(now())));
    addEventListener("click", ({ target }) => {
      const opener = (target as Element).closest?.(OPENER);
      if (opener) void this.open(opener);
    });
  }

  private _begin(): void {
    this._answer = readAnswer(now());
    const segment = cookies().find(([name]) => name === "ajs_anonymous_id")?.[1].replace(/%22|"/g, "");
    this.id = this._answer?._id || this.options.anonymousId || segment || uuid();
    if (this._answer && !this._answer._gpcAt !== !this.gpc()) this._put({ ...this._answer, _gpcAt: this._signalAt() });
    this._enforce();
    this._arrived();
    if (this.queue.letters.length) this._flush();
    // Without a question there is still the way back, and a signal that is honoured, to be shown.
    const show = () =>
      (this.asking() || this.gpc() || !document.querySelector(OPENER)) &&
      this._controls().then((ui) => this.asking() && ui.banner());
    if (document.body) void show();
    else addEventListener("DOMContentLoaded", show);
  }

  asking(): Asking | null {
    return asking(this.policy!, this._answer, now());
  }

  /** When the signal was first seen here; 0 where it is not sent. */
  private _signalAt(): number {
    return this.gpc() ? this._answer?._gpcAt || now() : 0;
  }

  // -- what a page asks ---------------------------------------------------------------------------
  categories(): Categories {
    return { ...this._current };
  }

  answered(): boolean {
    return !!this.policy && !!this._answer && !this.asking();
  }

  model(): "opt-in" | "opt-out" {
    return this.policy && this.policy.regime !== "opt_in" ? "opt-out" : "opt-in";
  }

  /** Older browsers expose a text. */
  gpc(): boolean {
    return /^(true|1)$/.test(String((navigator as { globalPrivacyControl?: unknown }).globalPrivacyControl));
  }

  once(element: Element): void {
    this._gate._once(element);
  }

  /** Whether something holds; null while that may still come. A no to one of `ids` is one. */
  verdict(holds: boolean, ids: string[] = []): boolean | null {
    return holds || (this.answered() || ids.some((id) => this._answer?._denied.includes(id)) ? false : null);
  }

  /** Do it once the test says yes, drop it once it says no. A hundred can wait. */
  hold(test: () => boolean | null, call: () => void): boolean {
    const verdict = test();
    if (verdict) call();
    if (verdict === null && this._held.length < MOST_HELD) return !!this._held.push([test, call]);
    return !!verdict;
  }

  onChange(listener: Listener): () => void {
    this._listeners.add(listener);
    return () => this._listeners.delete(listener);
  }

  /** Who is signed in, and what proves it; without it nobody is any more. */
  identify(id?: string, token?: Token): void {
    this.user = id && token ? { id, token } : null;
    const follow = async () => (await this.more()).follow(this, (ids) => this._refusedElsewhere(ids));
    if (this.user) void this.ready.then(follow);
  }

  // -- an answer ----------------------------------------------------------------------------------
  /** In force when this returns; sent when the server can be reached. What is not named stays as it is, unasked too. */
  answer(choice: Categories, action: Action, surface: Surface): void {
    const policy = this.policy!;
    const old = this._answer;
    const named = policy.categories.filter((one) => open(one) && choice[one.id] != null).map(({ id }) => id);
    if (!named.length && policy.categories.some(open)) return;
    const granted = named.filter((id) => choice[id] === true);
    const rest = (ids: string[] = []) => ids.filter((id) => !named.includes(id));
    // The cookie has one time for all: an older grant that stays must not become younger.
    const made = (still: string[]): Answer => ({
      _id: this.id,
      _notice: still.length ? old!._notice : noticeOf(policy),
      _at: still.length ? old!._at : now(),
      _granted: [...still, ...granted],
      _denied: [...rest(old?._denied), ...named.filter((id) => !granted.includes(id))],
      _gpcAt: this._signalAt(),
    });
    const whole = made(rest(old?._granted));
    const holds = inForce(policy, whole, this.gpc(), now());
    // Where a grant of now would not hold with that time, the older ones go, and are asked about again.
    this._put(allGranted(granted, holds) ? whole : made([]));
    this._against = this._against.filter((id) => !granted.includes(id));
    this._send(Object.fromEntries(named.map((id) => [id, granted.includes(id)])), action, surface);
    this._enforce(true);
  }

  private _put(answer: Answer): void {
    this._answer = answer;
    writeAnswer(answer, this.policy!.cookie);
  }

  private _send(preferences: Categories, action: Action, surface: Surface): void {
    const { notice, language } = this.policy!;
    const timestamp = new Date().toISOString();
    const evidence = {
      action,
      surface,
      noticeId: notice.id,
      noticeVersion: notice.version,
      noticeHash: notice.hash,
      language,
      page: location.origin + location.pathname,
      sdkVersion: VERSION,
    };
    // A repetition is sent as it was, sentAt included, so that its key holds.
    const subject = { anonymousId: this.id, userId: this.user?.id };
    const body = { subject, preferences, timestamp, sentAt: timestamp, evidence, writeKey: this.options.key };
    this.queue.keep([...this.queue.letters, letterOf(body, !!this.user)]);
    this._flush();
  }

  private _flush(): void {
    void this.more().then(({ flush }) => flush(this));
  }

  async withdraw(ids?: string[]): Promise<void> {
    await this.ready;
    const named = ids ?? Object.keys(this._current);
    this.answer(Object.fromEntries(named.map((id) => [id, false])), "withdraw", "preference_centre");
  }

  /** Another tab, or a page of this site that was open before, has another answer. */
  private _take(found: Answer | null): void {
    if (!this.policy || JSON.stringify(found) === JSON.stringify(this._answer)) return;
    this._answer = found;
    if (found) {
      this.id = found._id;
      this._put(found);
    }
    this._enforce();
    if (!this.asking()) void this._ui?.then((ui) => ui.close());
  }

  private _refusedElsewhere(ids: string[]): void {
    this._against = ids;
    if (this._answer) {
      const { _granted: granted, _denied: denied } = this._answer;
      const stays = (id: string) => !ids.includes(id);
      this._put({ ...this._answer, _granted: granted.filter(stays), _denied: [...denied, ...granted.filter((id) => !stays(id))] });
    }
    this._enforce();
  }

  /** What is in force changes here and nowhere else. The order is that of a withdrawal. */
  private _enforce(here = false): void {
    const { tags } = this.policy!;
    const before = this._current;
    const after = inForce(this.policy!, this._answer, this.gpc(), now(), this._against);
    this._current = after;
    if (here) this._tell(serialise(this._answer!));
    const ids = Object.keys(after);
    const started = ids.some((id) => id in before); // to learn what held all along is no change
    if (started && !here && ids.every((id) => before[id] === after[id])) return this._settle();
    const lost = ids.filter((id) => before[id] && !after[id]);
    signalUpdate(this.categories(), this.options.google);
    if (started) this._listeners.forEach((listener) => attempt(() => listener(this.categories(), here)));
    for (const { name, categories } of tags) {
      if (categories.some((id) => lost.includes(id))) attempt(() => this.options.revoke?.[name]?.());
    }
    window.consentryGuard?.(tags, after);
    const deaf = this._gate._revoke() > 0 && this.options.reload !== false;
    // What a refused tag stored is deleted, also what it stored again since.
    if (lost.length || tags.some((tag) => tag.cookies[0] && !allGranted(tag.categories, after))) void this._forget(lost, deaf);
    this._settle();
    if (started) document.dispatchEvent(new CustomEvent("consentry:change", { detail: { categories: this.categories() } }));
  }

  /** What refused tags stored is deleted; then the page is loaded anew where one of them cannot be stopped. */
  private async _forget(lost: string[], deaf: boolean): Promise<void> {
    try {
      (await this.more()).forget(this, lost);
    } finally {
      if (deaf) location.reload();
    }
  }

  /** What may go now goes; what waits for an answer that came and was no is dropped. */
  private _settle(): void {
    this._gate._run();
    for (const [test, call] of this._held.splice(0)) attempt(() => this.hold(test, call));
  }

  // -- the other files ----------------------------------------------------------------------------
  async open(opener?: Element | null): Promise<void> {
    await this.ready;
    (await this._controls()).centre(opener);
  }

  _placeholder(element: Element, needs: string[]): void {
    void this._controls().then((ui) => ui.placeholder(element, needs));
  }

  more(): Promise<More> {
    return this._file("more") as Promise<More>;
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

  land(name: string, what: unknown): void {
    this._landed[name]?.(what);
  }
}

/** One listener that fails may not keep the rest from being told. */
function attempt(call: () => void): void {
  try {
    call();
  } catch (error) {
    console.error(error);
  }
}
