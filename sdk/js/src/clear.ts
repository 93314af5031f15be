/** Deletes what refused tags stored, wherever a script can reach it. */
import { cookies, domains, setCookie } from "./cookie";
import type { Core } from "./core";
import { expire } from "./post";
import { stopTags } from "./running";
import { refusedNames } from "./tags";

type Test = (name: string) => boolean;

/** Tries every domain and path that the cookie may belong to. One that is partitioned is another cookie, and always secure. */
function clearCookie(name: string): void {
  const steps = location.pathname.split("/");
  const secure = /^__(Secure|Host)-/i.test(name) ? ";Secure" : ""; // else such a name is refused, to delete it too
  for (const domain of domains()) {
    for (let n = 1; n <= steps.length; n += 1) {
      const path = steps.slice(0, n).join("/");
      for (const end of [path || "/", `${path}/`]) {
        const gone = `${name}=;Max-Age=0;Path=${end}${domain && `;Domain=${domain}`}`;
        setCookie(gone + secure);
        setCookie(`${gone};Secure;Partitioned`);
      }
    }
  }
}

/**
 * What refused tags stored: cookies, both storages, caches, databases. `lost` are the categories refused just now. What only the
 * server can delete it is asked for after each answer, `answered`: whoever never agreed may have such cookies from before there was a question.
 */
export function forget(core: Core, lost: string[], answered: boolean): void {
  const deaf = stopTags(core, lost);
  clear(refusedNames(core.policy!.tags, core.categories()));
  if (lost.length || answered) void expire(core);
  if (deaf && core.options.reload !== false) location.reload();
}

/** In a sandbox each of them throws as soon as it is named. What is blocked holds nothing. */
function quietly(call: () => unknown): void {
  try {
    call();
  } catch {
    // The next one may be there.
  }
}

function clear(matches: Test): void {
  for (const [name] of cookies()) if (matches(name)) clearCookie(name);
  for (const kind of ["localStorage", "sessionStorage"] as const) {
    quietly(() => Object.keys(window[kind]).forEach((name) => matches(name) && window[kind].removeItem(name)));
  }
  const none = () => {};
  quietly(() => window.caches?.keys().then((found) => found.forEach((name) => matches(name) && caches.delete(name)), none));
  quietly(() =>
    indexedDB?.databases?.().then((found) => found.forEach(({ name }) => name && matches(name) && indexedDB.deleteDatabase(name)), none),
  );
}
