import type { Controller, PolicyCategory } from "../types";

/** The texts of one language, with their slots filled. */
export class Words {
  constructor(private readonly controller: Controller) {}

  /** The text of a key. A key without a text is shown as it is: silence would hide what is asked. */
  say(key: string, slots: Record<string, string> = {}, otherwise = key): string {
    const text = this.controller.policy.texts[key] ?? otherwise;
    return text.replace(/\{(\w+)\}/g, (slot, name: string) => slots[name] ?? slot);
  }

  /** The names of categories as one list, as the language writes lists. */
  names(categories: PolicyCategory[]): string {
    const names = categories.map((category) => category.name);
    try {
      return new Intl.ListFormat(this.controller.policy.language).format(names);
    } catch {
      return names.join(", ");
    }
  }

  /** What a category is for: as the operator wrote it, else as the language describes the usual ones. */
  description(category: PolicyCategory): string {
    return category.description || this.controller.policy.texts[`category.${category.id}.description`] || "";
  }
}
