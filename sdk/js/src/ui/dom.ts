/**
 * Elements are made one by one and texts are set as text: no markup is parsed, no style attribute is
 * written and nothing is evaluated, so that the strictest Content-Security-Policy has nothing to refuse.
 */

type Property = string | boolean | ((event: Event) => void);
type Child = Node | string | null | false;

/** An element with attributes (`true`: an empty one, `false`: none), listeners and children. */
export function make<Tag extends keyof HTMLElementTagNameMap>(
  tag: Tag,
  properties: Record<string, Property> = {},
  ...children: Child[]
): HTMLElementTagNameMap[Tag] {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (typeof value === "function") element.addEventListener(name, value);
    else if (value !== false) element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.filter((child): child is Node | string => !!child));
  return element;
}

/** A button whose `data-consentry` is promised not to change (docs/banner.md). */
export function button(name: string, label: string, look: string, press: () => void): HTMLButtonElement {
  const properties = { type: "button", class: `consentry-button consentry-${look}`, "data-consentry": name };
  return make("button", { ...properties, click: press }, label);
}
