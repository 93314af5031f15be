import type { Action, Beside, Categories, Controller, Surface } from "../types";
import type { Words } from "./words";

/** What a control can do. */
export interface Desk {
  readonly controller: Controller;
  readonly words: Words;
  /** Hand an answer over and take down what asked for it. */
  answer(choice: Categories, action: Action, surface: Surface, beside?: Beside): void;
  /** From the banner to the preference centre. */
  choose(opener: HTMLElement): void;
  /** Take away the control that stands in the place of an element. */
  uncover(element: Element): void;
}
