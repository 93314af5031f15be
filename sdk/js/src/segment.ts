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

const isObject = (value: unknown) => typeof value === "object" && value !== null;

/** The names first, then properties, which an alias has none of, then the options, which are replaced. */
function optioned(call: string, args: unknown[], options: (given: Any) => object): unknown[] {
  const callback = args.filter((arg) => typeof arg === "function");
  const rest = args.filter((arg) => typeof arg !== "function");
  const most = ["page", "screen", "alias"].includes(call) ? 2 : 1;
  const object = rest.findIndex(isObject);
  const names = rest.slice(0, Math.min(most, object < 0 ? most : object));
  const objects = rest.slice(names.length);
  if (call !== "alias") names.push(objects.shift() ?? {});
  return [...names, options(objects[0] ?? {}), ...callback];
}

/** Takes over from `hold`. The result is what a page's `load` does from then on. */
export function wrap(core: Core, sdk: Any, settings: WrapperSettings, held: Hold): (args: unknown[]) => Promise<void> {
  const segment = typeof sdk.addSourceMiddleware === "function";
  const way = segment ? segmentWay(core, sdk, settings, held) : rudderWay(core, sdk, settings);
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
    // RudderStack goes on sending whatever is refused: with nothing granted it gets nothing.
    const call = (name: string, args: unknown[]) => (segment || some(core) ? held.plain[name]!(...way.called(name, args)) : undefined);
    for (const name of CALLS) if (held.plain[name]) sdk[name] = (...args: unknown[]) => call(name, args);
    for (const { name, args, at, done } of held.calls.splice(0)) {
      done(call(name, optioned(name, args, (options) => ({ [way.time]: at, ...options }))));
    }
  }

  for (const name of CALLS.filter((one) => held.plain[one])) {
    const wait = sdk[name];
    // After a no nothing waits for another answer.
    sdk[name] = (...args: unknown[]) =>
      core.model() === "opt-in" && some(core) === false ? Promise.resolve() : wait(...args);
  }
  core.onChange((categories, here) => void settle().then(() => loaded && way.changed(categories, here)));
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
  /** What a call is made with. */
  called(name: string, args: unknown[]): unknown[];
  /** `here`: answered in this tab. */
  changed(categories: Categories, here: boolean): void;
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
    called: (_name, args) => args,
    changed: (categoryPreferences, here) => here && void held.plain.track!(UPDATED, undefined, { consent: { categoryPreferences } }),
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

/** What it keeps of its device-mode destinations. */
const stateOf = (writeKey: string): Any => (window as Any).RudderStackGlobals?.[writeKey]?.state?.nativeDestinations;

/** Its device-mode destinations: all, or those that run; null where it does not say. */
function destinationsOf(writeKey: string, which: "configuredDestinations" | "activeDestinations"): Any[] | null {
  const found = stateOf(writeKey)?.[which]?.value;
  return Array.isArray(found) ? found : null;
}

/** As RudderStack reads it: what the provider's entry names, `and` unless it says otherwise. */
function needsOf({ config }: Any): { ids: string[]; any: boolean } {
  const entry = config?.consentManagement?.find(({ provider }: Any) => provider === "custom");
  const ids = (entry?.consents ?? []).map(({ consent }: Any) => String(consent).trim()).filter(Boolean);
  return { ids, any: entry?.resolutionStrategy === "or" };
}

/**
 * Told of a refusal, it goes on sending to what it has loaded. So each call names the destinations that may not have
 * it, and the page is loaded anew where one of them runs and cannot be stopped.
 */
function rudderWay(core: Core, sdk: Any, { allowUnmapped }: WrapperSettings): Way {
  let before: Categories = {};
  let writeKey = "";
  let asked: object | undefined; // which destinations the page wants at all
  const granted = (one: Any, categories: Categories) => {
    const { ids, any } = needsOf(one);
    if (!ids.length) return !!allowUnmapped;
    return any ? ids.some((id) => categories[id] === true) : ids.every((id) => categories[id] === true);
  };
  const stops = ({ displayName }: Any) =>
    !!core.options.revoke?.[displayName] && core.policy!.tags.some(({ name }) => name === displayName);

  /** What is refused is off, whatever a page says; what nobody can tell is refused. Null where nothing is. */
  function refused(): object | null {
    const all = destinationsOf(writeKey, "configuredDestinations");
    if (!all) return { All: false };
    const off = all.filter((one) => !granted(one, core.categories()));
    return off.length ? Object.fromEntries(off.map(({ displayName }) => [displayName, false])) : null;
  }

  return {
    id: "rl_anonymous_id",
    time: "originalTimestamp",
    loadWith([key, url, options]: Any[]) {
      writeKey = key;
      asked = options?.integrations;
      before = core.categories();
      /** Its configuration is here and none of its destinations: one without categories is left out of what it loads. */
      const onLoaded = (...args: unknown[]) => {
        const wanted = stateOf(writeKey)?.loadOnlyIntegrations;
        if (wanted) wanted.value = { ...wanted.value, ...refused() };
        options?.onLoaded?.(...args);
      };
      return [key, url, { ...options, onLoaded, consentManagement: rudderConsent(before) }];
    },
    called(name, args) {
      const off = refused();
      return off ? optioned(name, args, (given) => ({ ...given, integrations: { ...given.integrations, ...off } })) : args;
    },
    changed(categories, here) {
      const lost = Object.keys(before).filter((id) => before[id] && !categories[id]);
      const ran = destinationsOf(writeKey, "activeDestinations");
      const deaf = !ran || ran.some((one) => granted(one, before) && !granted(one, categories) && !stops(one));
      before = categories;
      sdk.consent?.({
        consentManagement: rudderConsent(categories),
        trackConsent: here,
        integrations: { ...asked, ...refused() },
      });
      // After what is told and deleted in this turn.
      if (lost.length && deaf && core.options.reload !== false) setTimeout(() => location.reload());
    },
  };
}
