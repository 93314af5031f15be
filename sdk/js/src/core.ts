/** The page's side of consent: the answer, what is in force, and everything that must follow it. */
import { asking, inForce, noticeOf, open } from "./ask";
import { type Answer, cookies, parse, readAnswer, serialise, writeAnswer } from "./cookie";
import { type Gate, type Names, type World, createGate } from "./gate";
import type { More } from "./more";
import { fetchPolicy } from "./policy";
import { type Queue, createQueue } from "./queue";
import { type GoogleKeys, signalDefault, signalUpdate } from "./signals";
import { createTabs } from "./tabs";
import { refusedNames, storedNames } from "./tags";
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
    this.policy = await fetchPolicy(this.url(`projects/${encodeURIComponent(options.key)}/policy`), options.language);
    this._begin(this.policy);
    const look = () => document.hidden || this._take(readAnswer(now()));
    addEventListener("pageshow", look);
    addEventListener("visibilitychange", look);
    addEventListener("click", ({ target }) => {
      const opener = (target as Element).closest?.(OPENER);
      if (opener) void this.open(opener);
    });
  }

  private _begin(policy: Policy): void {
    this._answer = readAnswer(now());
    const segment = cookies().find(([name]) => name === "ajs_anonymous_id")?.[1].replace(/%22|"/g, "");
    this.id = this._answer?._id || this.options.anonymousId || segment || uuid();
    if (this._answer && !this._answer._gpcAt !== !this.gpc()) {
      this._answer = { ...this._answer, _gpcAt: this._signalAt() };
      writeAnswer(this._answer, policy.cookie);
    }
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

  /** Whether something holds; null while that may still come. */
  verdict(holds: boolean): boolean | null {
    return holds || (this.answered() ? false : null);
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
  /** In force when this returns; sent when the server can be reached. A category left out stays as it is. */
  answer(choice: Categories, action: Action, surface: Surface): void {
    const policy = this.policy!;
    const ids = policy.categories.filter(open).map(({ id }) => id);
    const said = Object.fromEntries(ids.map((id) => [id, choice[id] ?? this._current[id] ?? false]));
    const granted = ids.filter((id) => said[id]);
    this._answer = {
      _id: this.id,
      _notice: noticeOf(policy),
      _at: now(),
      _granted: granted,
      _denied: ids.filter((id) => !said[id]),
      _gpcAt: this._signalAt(),
    };
    this._against = this._against.filter((id) => !granted.includes(id));
    writeAnswer(this._answer, policy.cookie);
    this._send(said, action, surface);
    this._enforce(true);
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
    this.queue.add(body, !!this.user);
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
    const policy = this.policy;
    if (!policy || JSON.stringify(found) === JSON.stringify(this._answer)) return;
    this._answer = found;
    if (found) {
      this.id = found._id;
      writeAnswer(found, policy.cookie);
    }
    this._enforce();
    if (!this.asking()) void this._ui?.then((ui) => ui.close());
  }

  private _refusedElsewhere(ids: string[]): void {
    const refused = (id: string) => ids.includes(id);
    this._against = ids;
    if (this._answer) {
      const { _granted: granted, _denied: denied } = this._answer;
      this._answer = { ...this._answer, _granted: granted.filter((id) => !refused(id)), _denied: [...denied, ...granted.filter(refused)] };
      writeAnswer(this._answer, this.policy!.cookie);
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
    const refused = refusedNames(tags, after);
    if (lost.length || storedNames().some(refused)) void this._forget(refused, lost, deaf);
    this._settle();
    if (started) document.dispatchEvent(new CustomEvent("consentry:change", { detail: { categories: this.categories() } }));
  }

  /** What refused tags stored is deleted; then the page is loaded anew where one of them cannot be stopped. */
  private async _forget(refused: (name: string) => boolean, lost: string[], deaf: boolean): Promise<void> {
    try {
      const { clear, expire } = await this.more();
      clear(refused);
      if (lost.length) expire(this, lost);
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
      script.src = `${this.options.files}consentry-${name}.js`;
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
