/**
 * Answers that the server does not have yet: each under a name of its own in the storage, so that no
 * tab overwrites what another one keeps there. The other tabs hear of it, and look at the cookie.
 */
import { uuid } from "./uuid";

export const KEPT = "consentry.queue.";

/** Where it is kept, its `Idempotency-Key`, and the body as it was first written. */
export type Letter = [name: string, key: string, body: string];

let written = 0;

/** `unsent` takes what the storage does not: it lives as long as the page. */
export function keep(content: object, unsent: Record<string, string>): Letter {
  const key = uuid();
  const name = `${KEPT}${Date.now() + written++}.${key}`; // in this order they are sent
  const body = JSON.stringify(content);
  try {
    localStorage.setItem(name, body);
  } catch {
    unsent[name] = body;
  }
  return [name, key, body];
}

/** Recorded once, however often it is sent: it has a key. */
export const post = (url: string, [, key, body]: Letter, more?: object | null) =>
  fetch(url, {
    method: "POST",
    body,
    keepalive: true,
    headers: { "content-type": "application/json", "idempotency-key": key, ...more },
  });
