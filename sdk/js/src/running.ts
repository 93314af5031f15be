/**
 * Which tags run in this page, whoever loaded them: the gate, a page's own script, a container, another tag.
 *
 * A script that ran cannot be undone. So a tag that is refused is told to stop, by a function of the page or by the one that
 * its `[[tag]]` names; where neither is there, or it fails, the page has to be loaded anew.
 */
import type { Core } from "./core";
import { allGranted, hostMatches, hostOf } from "./tags";
import type { Categories, Tag } from "./types";

const hosts = new Set<string>();
const names = new Set<string>();

function take(entries: PerformanceEntryList): void {
  for (const entry of entries as PerformanceResourceTiming[]) if (entry.initiatorType === "script") hosts.add(hostOf(entry.name));
}

/** The browser's own list holds 250; what comes later is heard of here. */
export function watchScripts(): void {
  try {
    new PerformanceObserver((list) => take(list.getEntries())).observe({ type: "resource", buffered: true });
  } catch {
    // Then the list has to do.
  }
}

const failed = new Set<string>();
let minded = false;

/** Remember which of the page's own functions fails: then its tag runs on. */
export function mind({ options }: Core): void {
  if (minded || !options.revoke) return;
  minded = true;
  const watched = ([name, stop]: [string, () => void]) => {
    const call = () => {
      failed.add(name);
      stop();
      failed.delete(name);
    };
    return [name, call];
  };
  options.revoke = Object.fromEntries(Object.entries(options.revoke).map(watched));
}

/** What was asked of a script that the gate let run. */
interface Gated {
  needs: string[];
  tags: Tag[];
}

const gated: Gated[] = [];

/** `name`: of a script of the page's own text, which has no host. */
export function ran(one: Gated, name?: string): void {
  gated.push(one);
  if (name) names.add(name);
}

/** Whether it may not run any more, and nobody has said how it is stopped. */
function deaf({ needs, tags }: Gated, now: Categories): boolean {
  const free = tags.length > 0 && tags.every(({ mode }) => mode === "advanced");
  const stops = tags.length > 0 && tags.every(({ revoke }) => revoke);
  return !allGranted(needs, now) && !free && !stops;
}

/** A frame of it, too, that the gate did not empty. */
function runs({ name, hosts: its }: Tag): boolean {
  const frames = [...document.querySelectorAll<HTMLIFrameElement>("iframe[src]")].map(({ src }) => hostOf(src));
  return names.has(name) || [...hosts, ...frames].some((host) => its.some((text) => hostMatches(text, host)));
}

/** Whether it could be told to stop. The page's own function was called before. */
function told({ options }: Core, { name, stop }: Tag): boolean {
  if (options.revoke?.[name]) return !failed.has(name);
  try {
    const steps = stop!.split(".");
    const last = steps.pop()!;
    const owner = steps.reduce((found, step) => found[step], window as any); // eslint-disable-line @typescript-eslint/no-explicit-any
    owner[last]();
    return true;
  } catch {
    if (stop) console.warn(`consentry: "${name}" has no ${stop}(), or it failed`);
    return false;
  }
}

/** Tells tags that need one of these categories to stop; whether one of them runs on, or a script that is nobody's. */
export function stopTags(core: Core, lost: string[]): boolean {
  take(performance.getEntriesByType("resource"));
  const { tags } = core.policy!;
  const refused = tags.filter(({ mode, categories }) => mode !== "advanced" && categories.some((id) => lost.includes(id)));
  const runsOn = refused.filter((tag) => runs(tag) && !told(core, tag)).length > 0;
  return runsOn || (lost.length > 0 && gated.some((one) => deaf(one, core.categories())));
}
