/** What a page gets: `window.consentry`, and the exports of the module. */
import { Core, type Options } from "./core";
import { hold } from "./hold";
import type { WrapperSettings } from "./segment";
import { allGranted } from "./tags";
import type { Action, Categories, Mount, Surface } from "./types";
import type { StartUi } from "./ui-entry";

export function createApi(files: string) {
  const core = new Core();
  return {
    /** Begin; the first call counts. */
    init({ api, ...options }: Options) {
      const server = (api ?? new URL(files).origin).replace(/\/$/, "");
      return core.start({ files, ...options, api: server });
    },
    /** What is in force now. Empty until the policy is here: nothing is granted. */
    getCategories: (): Categories => core.categories(),
    /** Told of every change, wherever it was made; returns what ends that. */
    onChange: (listener: (categories: Categories) => void) => core.onChange(listener),
    consentModel: () => core.model(),
    /** Segment's or RudderStack's object, from now on held to consent. Call it before `load`. */
    withConsentry<T>(analytics: T, settings: WrapperSettings = {}): T {
      hold(core, analytics, settings);
      return analytics;
    },
    /** Show the preference centre. */
    open: (opener?: Element | null) => core.open(opener),
    /** For a banner of one's own: in force at once, then stored and sent. A category left out stays as it is. */
    async answer(choice: Categories, action: Action = "save", surface: Surface = "banner"): Promise<void> {
      await core.ready;
      core.answer(choice, action, surface);
    },
    /** Withdraw some categories, or all that can be refused. */
    withdraw: (categories?: string[]) => core.withdraw(categories),
    /** Call it once all of `categories` are granted, with the time of now; never if they are refused. */
    when(categories: string | string[], call: (at: Date) => void): boolean {
      const [at, ids] = [new Date(), [categories].flat()];
      return core.hold(() => core.verdict(allGranted(ids, core.categories()), ids), () => call(at));
    },
    /** Who is signed in, and the token that proves it; nothing for nobody. */
    identify: (userId?: string, token?: string | (() => string | Promise<string>)) => core.identify(userId, token),
    /** Resolves when the policy is here and in force. */
    ready: core.ready,
    get anonymousId(): string {
      return core.id;
    },
    /** For the other files. What shows the controls needs only `mount`; `start` is how this loader calls it. */
    mount: (_mount: Mount, start: StartUi) => core.land("ui", start),
    land: (name: string, what: unknown) => core.land(name, what),
  };
}

declare global {
  interface Window {
    consentry?: ReturnType<typeof createApi>;
  }
  /** Of the package. */
  const VERSION: string;
}
