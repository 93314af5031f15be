/** Answers that the server does not have yet. Each has a key, so that it is recorded once however often it is sent. */
import { uuid } from "./uuid";

const KEPT = "consentry.queue";
const MOST = 20;

/** Key, body as it was first written, and whether it speaks for an account. */
export type Letter = [string, string, boolean];

export interface Queue {
  letters: Letter[];
  add(body: object, account: boolean): void;
  remove(letter: Letter): void;
}

export function createQueue(): Queue {
  const queue: Queue = {
    letters: [],
    add: (body, account) => keep([...queue.letters, [uuid(), JSON.stringify(body), account] as Letter].slice(-MOST)),
    remove: (letter) => keep(queue.letters.filter((other) => other !== letter)),
  };
  function keep(letters: Letter[]): void {
    queue.letters = letters;
    try {
      localStorage.setItem(KEPT, JSON.stringify(letters));
    } catch {
      // It lives in memory, and goes when the page goes.
    }
  }
  try {
    queue.letters = JSON.parse(localStorage.getItem(KEPT)!) ?? [];
  } catch {
    // Blocked, or unreadable: what was there is lost.
  }
  return queue;
}
