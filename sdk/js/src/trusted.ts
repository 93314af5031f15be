/**
 * Trusted Types: what a script is, or where it comes from, is said through a policy of the name
 * `consentry`. The texts are those of the page's own markup, and of the files beside this one.
 */
interface Types {
  createHTML(text: string): string;
  createScript(text: string): string;
  createScriptURL(text: string): string;
}

declare global {
  interface Window {
    trustedTypes?: { createPolicy(name: string, types: Types): Types };
  }
}

const same = (text: string) => text;

export let types: Types = { createHTML: same, createScript: same, createScriptURL: same };
try {
  types = window.trustedTypes!.createPolicy("consentry", types);
} catch {
  // The browser has none, or the page's policy does not name ours: then plain text has to do.
}
