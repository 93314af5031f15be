/** Answers that the server does not have yet. Each has a key, so that it is recorded once however often it is sent. */
import { uuid } from "./uuid";

const KEPT = "consentry.queue";
const MOST = 20;

/** Key, body as it was first written, and whether it speaks for an account. */
export type Letter = [string, string, boolean];

export interface Queue {
  letters: Letter[];
  /** These letters wait now, and no others. */
  keep(letters: Letter[]): void;
}

export const letterOf = (body: object, account: boolean): Letter => [uuid(), JSON.stringify(body), account];

export function createQueue(): Queue {
  const queue: Queue = {
    letters: [],
    keep(letters) {
      queue.letters = letters.slice(-MOST);
      try {
        localStorage.setItem(KEPT, JSON.stringify(queue.letters));
      } catch {
        // It lives in memory, and goes when the page goes.
      }
    },
  };
  try {
    queue.letters = JSON.parse(localStorage.getItem(KEPT)!) ?? [];
  } catch {
    // Blocked, or unreadable: what was there is lost.
  }
  return queue;
}
