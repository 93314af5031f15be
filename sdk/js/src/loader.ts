/** The script tag: `<script src="/sdk/consentry.js" data-key="…" data-api="…">`. */
import { createApi } from "./api";

// data-map is JSON, such as {"statistics": "analytics"}.
const tag = document.currentScript as HTMLScriptElement;

if (!window.consentry) {
  window.consentry = createApi(new URL(".", tag.src).href);
  const { dataset, nonce } = tag;
  const { key, map = "{}", language = document.documentElement.lang } = dataset;
  if (key) void window.consentry.init({ ...(dataset as { key: string }), language, nonce, map: JSON.parse(map) });
}
