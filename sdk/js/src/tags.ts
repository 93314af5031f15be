/** Which tag a host or a stored name belongs to, and whether it may. */
import { cookies } from "./cookie";
import type { Categories, Tag } from "./types";

/** `*` stands for anything. */
function pattern(text: string): RegExp {
  return new RegExp(`^${text.replace(/[.+?^${}()|[\]\\]/g, "\\$&").replace(/\*/g, ".*")}$`);
}

/** `*.example.com` is every host below it; a port counts where the pattern names one. */
export const hostMatches = (text: string, host: string) =>
  pattern(text).test(/:\d+$/.test(text) ? host : host.replace(/:\d+$/, ""));

export const tagsOf = (tags: Tag[], host: string) => tags.filter(({ hosts }) => hosts.some((text) => hostMatches(text, host)));

export const allGranted = (ids: string[], categories: Categories) => ids.every((id) => categories[id] === true);

export function hostOf(url: string): string {
  try {
    return new URL(url, document.baseURI).host;
  } catch {
    return "";
  }
}

/** The names that refused tags store and no allowed one does. */
export function refusedNames(tags: Tag[], categories: Categories): (name: string) => boolean {
  const stored = (name: string, allowed: boolean) =>
    tags.some((tag) => allGranted(tag.categories, categories) === allowed && tag.cookies.some((text) => pattern(text).test(name)));
  return (name) => !name.startsWith("consentry") && stored(name, false) && !stored(name, true);
}

/** The names of what scripts stored here, as far as they can be told at once. */
export function storedNames(): string[] {
  const names = cookies().map(([name]) => name);
  try {
    return [...names, ...Object.keys(localStorage), ...Object.keys(sessionStorage)];
  } catch {
    return names; // blocked storage holds nothing
  }
}
