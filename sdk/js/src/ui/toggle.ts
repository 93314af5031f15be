import { make } from "./dom";
import type { Words } from "./words";

/** A switch, and before it its state in words. `always`: nobody can turn it off. */
export function toggle(
  words: Words,
  attributes: Record<string, string | boolean>,
  always = false,
): [HTMLElement, HTMLInputElement] {
  const input = make("input", { type: "checkbox", role: "switch", ...attributes });
  const state = make("span", { class: "consentry-state", "aria-hidden": "true" });
  const tell = () => {
    state.textContent = words.say(always ? "category.always" : `category.${input.checked ? "on" : "off"}`);
  };
  input.addEventListener("change", tell);
  tell();
  return [state, input];
}
