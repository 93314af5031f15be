/** What a page gets: `window.consentry`, and the exports of the module. */
import { Core, type Options } from "./core";
import { hold } from "./hold";
import type { WrapperSettings } from "./segment";
import { allGranted } from "./tags";
import type { Action, Categories, Evidence } from "./types";

export function createApi(files: string) {
  const core = new Core();
  return {
    /** Begin; the first call counts. */
    init({ api, ...options }: Options) {
      const server = (api ?? new URL(files).origin).replace(/\/$/, "");
      return core.start({ files, ...options, api: server });
    },
    /** What is in force now. Empty until the policy is here: nothing is granted. */
    getCategories: core.categories,
    /** Told of every change, wherever it was made; returns what ends that. */
    onChange: core.onChange as (listener: (categories: Categories) => void) => () => void,
    consentModel: core.model,
    /** Segment's or RudderStack's object, from now on held to consent. Call it before `load`. */
    withConsentry<T>(analytics: T, settings: WrapperSettings = {}): T {
      hold(core, analytics, settings);
      return analytics;
    },
    /** Show the preference centre. */
    open: core.open,
    /**
     * For a banner of one's own: in force at once, then stored and sent. A category left out stays as it is.
     * `evidence` says what the person was shown; without it nothing is said of that.
     */
    async answer(choice: Categories, action: Action = "save", evidence?: Evidence): Promise<void> {
      core._early(Object.keys(choice).filter((id) => choice[id] === false));
      await core.ready;
      core.answer(choice, action, evidence);
    },
    /** Withdraw some categories, or all that can be refused. */
    withdraw: core.withdraw,
    /** Call it once all of `categories` are granted, with the time of now; never if they are refused. */
    when(categories: string | string[], call: (at: Date) => void): boolean {
      const [at, ids] = [new Date(), [categories].flat()];
      return core.hold(() => core.verdict(allGranted(ids, core.categories()), ids), () => call(at));
    },
    /** Who is signed in, and the token that proves it; nothing for nobody. */
    identify: core.identify,
    /** Resolves when the policy is here and in force. */
    ready: core.ready,
    get anonymousId(): string {
      return core.id;
    },
    /** For the other files: what they offer. */
    land: core.land,
  };
}

declare global {
  interface Window {
    consentry?: ReturnType<typeof createApi>;
  }
  /** Of the package. */
  const VERSION: string;
}
