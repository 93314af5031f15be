/** The policy document. Until it is here, and whole, nothing is granted. */
import type { Policy } from "./types";
import { sleep } from "./uuid";

const PATIENCE_MS = 10_000;
const LONGEST_WAIT_MS = 60_000;

/** Asks until there is an answer; resolves late rather than wrongly. */
export async function fetchPolicy(url: string, language?: string, cache?: RequestCache): Promise<Policy> {
  for (let wait = 1000; ; wait = Math.min(wait * 2, LONGEST_WAIT_MS)) {
    try {
      const headers: HeadersInit = language ? { "accept-language": language } : {};
      const response = await fetch(url, { cache, headers, signal: AbortSignal.timeout?.(PATIENCE_MS) });
      const found: Policy = await response.json();
      const lists = [found.categories, found.tags, found.gpc.covers, found.notice.changed];
      if (!response.ok || !lists.every(Array.isArray) || !found.ask || !found.cookie) throw 0;
      // A tag that needs nothing never runs: nobody said what it is for.
      for (const tag of found.tags) if (!tag.categories.length) [tag.categories, tag.mode] = [[""], "basic"];
      return found;
    } catch {
      // Said below.
    }
    console.warn("consentry: no policy");
    await sleep(wait);
  }
}
