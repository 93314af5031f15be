/** Holds an analytics object until `consentry-more.js` takes it over: it cannot load, and its calls wait. */
import type { Core } from "./core";

/* eslint-disable @typescript-eslint/no-explicit-any -- the vendors' objects, as pages have them */
export type Any = any;

export const CALLS = ["track", "page", "identify", "group", "alias", "screen"];
export const MOST_HELD = 100;

export interface HeldCall {
  name: string;
  args: unknown[];
  at: string;
  done: (value: unknown) => void;
}

export interface Hold {
  plain: Record<string, (...args: unknown[]) => unknown>;
  load: (...args: unknown[]) => unknown;
  calls: HeldCall[];
}

/** Calls before an answer have their own time; those beyond a hundred are lost. */
export function hold(core: Core, sdk: Any, settings: object): void {
  const held: Hold = { plain: {}, load: sdk.load.bind(sdk), calls: [] };
  for (const name of CALLS) {
    if (!sdk[name]) continue;
    held.plain[name] = sdk[name].bind(sdk);
    sdk[name] = (...args: unknown[]) =>
      new Promise((done) => {
        if (held.calls.length < MOST_HELD) held.calls.push({ name, args, at: new Date().toISOString(), done });
        else done(undefined);
      });
  }
  const taken = core.ready.then(() => core.more()).then(({ wrap }) => wrap(core, sdk, settings, held));
  sdk.load = (...args: unknown[]) => {
    if ((args[args.length - 1] as Any)?.initialPageview) sdk.page?.();
    return taken.then((load) => load(args));
  };
}
