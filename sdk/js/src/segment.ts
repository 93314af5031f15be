/**
 * Segment's analytics.js and RudderStack's, held back, stamped and stopped.
 *
 * The surface is that of Segment's consent wrapper. Beyond it, a category that is revoked later
 * stops device-mode destinations that are loaded, in both models.
 */
import { open } from "./ask";
import type { Core } from "./core";
import { type Any, CALLS, type Hold } from "./hold";
import { storedNames } from "./tags";
import type { Categories } from "./types";

export interface WrapperSettings {
  /** Which categories a destination needs, in place of what the settings say. */
  integrationCategoryMappings?: Record<string, string[]>;
  shouldEnableIntegration?: (needs: string[], categories: Categories, info: { creationName: string }) => boolean;
  shouldDisableSegment?: () => boolean | Promise<boolean>;
  /** Whether a device-mode destination without categories may have events; false, if nothing is said. */
  allowUnmapped?: boolean;
}

const UPDATED = "Segment Consent Preference Updated";

/** Whether anything that can be refused is granted; null while that may still come. */
function some(core: Core): boolean | null {
  const now = core.categories();
  return core.verdict(!!core.policy?.categories.some((category) => open(category) && now[category.id]));
}

/** The names first, then two objects; the time goes into the second. */
function dated(call: string, args: unknown[], time: Record<string, string>): unknown[] {
  const callback = args.filter((arg) => typeof arg === "function");
  const rest = args.filter((arg) => typeof arg !== "function");
  const first = rest.findIndex((arg) => typeof arg === "object" && arg !== null);
  const names = first < 0 ? rest : rest.slice(0, first);
  const objects = (first < 0 ? [] : rest.slice(first)) as (object | undefined)[];
  if (call !== "alias") names.push(objects.shift() ?? {});
  return [...names, { ...time, ...objects[0] }, ...callback];
}

/** Takes over from `hold`. The result is what a page's `load` does from then on. */
export function wrap(core: Core, sdk: Any, settings: WrapperSettings, held: Hold): (args: unknown[]) => Promise<void> {
  const segment = typeof sdk.addSourceMiddleware === "function";
  const way = segment ? segmentWay(core, sdk, settings, held) : rudderWay(core, sdk);
  let asked: Any[] | null = null;
  let loaded = false;

  const drop = () => held.calls.splice(0).forEach(({ done }) => done(undefined));

  /** Nothing is loaded before something is granted; once all is refused, what waits is dropped. */
  async function settle(): Promise<void> {
    const verdict = core.model() === "opt-out" || some(core);
    if (verdict === false) drop();
    if (!verdict || !asked || loaded) return;
    loaded = true;
    if (await settings.shouldDisableSegment?.()) return drop();
    // One id for events and choices, so that a withdrawal stops what is queued; theirs, where they have one.
    if (!storedNames().includes(way.id)) sdk.setAnonymousId?.(core.id);
    held.load(...way.loadWith(asked));
    for (const name of CALLS) if (held.plain[name]) sdk[name] = held.plain[name];
    for (const { name, args, at, done } of held.calls.splice(0)) done(held.plain[name]!(...dated(name, args, { [way.time]: at })));
  }

  for (const name of CALLS.filter((one) => held.plain[one])) {
    const wait = sdk[name];
    // After a no nothing waits for another answer.
    sdk[name] = (...args: unknown[]) =>
      core.model() === "opt-in" && some(core) === false ? Promise.resolve() : wait(...args);
  }
  core.onChange((categories, here) => void settle().then(() => loaded && here && way.changed(categories)));
  void settle();
  return (args) => {
    const options = args[args.length - 1] as Any;
    asked = options?.initialPageview ? [...args.slice(0, -1), { ...options, initialPageview: false }] : args;
    return settle();
  };
}

interface Way {
  /** Where it keeps its anonymous id. */
  id: string;
  /** The option that says when a call was made. */
  time: string;
  loadWith(args: unknown[]): unknown[];
  changed(categories: Categories): void;
}

function segmentWay(core: Core, sdk: Any, settings: WrapperSettings, held: Hold): Way {
  const { integrationCategoryMappings, shouldEnableIntegration, allowUnmapped } = settings;
  let integrations: Any = {};

  function enabled(name: string, categories: Categories): boolean {
    const needs: string[] =
      (integrationCategoryMappings ? integrationCategoryMappings[name] : integrations[name]?.consentSettings?.categories) ?? [];
    if (shouldEnableIntegration) return shouldEnableIntegration(needs, categories, { creationName: name });
    return needs.length ? needs.every((id) => categories[id] === true) : !!allowUnmapped;
  }

  sdk.addSourceMiddleware(({ payload, next }: Any) => {
    const { context, event } = payload.obj;
    context.consent = { ...context.consent, categoryPreferences: core.categories() };
    if (!some(core) && event !== UPDATED) return null;
    return next(payload);
  });
  sdk.addDestinationMiddleware("*", ({ integration, payload, next }: Any) => {
    const stamp: Categories = payload.obj.context.consent?.categoryPreferences ?? {};
    // The event's own stamp, and what holds now: it may have waited.
    return enabled(integration, stamp) && enabled(integration, core.categories()) ? next(payload) : null;
  });

  /** What is refused in an opt-in place is not even loaded. */
  function pruned(found: Any): Any {
    integrations = found.integrations ?? {};
    if (core.model() !== "opt-in") return found;
    const stays = (name: string) => name === "Segment.io" || enabled(name, core.categories());
    return {
      ...found,
      integrations: Object.fromEntries(Object.entries(integrations).filter(([name]) => stays(name))),
      remotePlugins: (found.remotePlugins ?? []).filter((plugin: Any) => stays(plugin.creationName ?? plugin.name)),
    };
  }

  return {
    id: "ajs_anonymous_id",
    time: "timestamp",
    loadWith: ([key, options]: Any[]) => {
      const then = options?.updateCDNSettings ?? ((found: Any) => found);
      return [key, { ...options, updateCDNSettings: (found: Any) => then(pruned(found)) }];
    },
    changed: (categoryPreferences) => void held.plain.track!(UPDATED, undefined, { consent: { categoryPreferences } }),
  };
}

/** RudderStack's object: each category is in one list or the other. */
export function rudderConsent(categories: Categories) {
  const ids = Object.keys(categories);
  return {
    enabled: true,
    provider: "custom",
    allowedConsentIds: ids.filter((id) => categories[id]),
    deniedConsentIds: ids.filter((id) => !categories[id]),
  };
}

function rudderWay(core: Core, sdk: Any): Way {
  return {
    id: "rl_anonymous_id",
    time: "originalTimestamp",
    loadWith: ([key, url, options]: Any[]) => [key, url, { ...options, consentManagement: rudderConsent(core.categories()) }],
    changed: (categories) => sdk.consent?.({ consentManagement: rudderConsent(categories), trackConsent: true }),
  };
}
