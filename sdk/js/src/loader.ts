/** The script tag: `<script src="/sdk/consentry.js" data-key="…" data-api="…">`. */
import { createApi } from "./api";

// data-map is JSON, such as {"statistics": "analytics"}.
const tag = document.currentScript as HTMLScriptElement;

if (!window.consentry) {
  window.consentry = createApi(new URL(".", tag.src).href);
  const { key, api, language, map, anonymousId } = tag.dataset;
  if (key) {
    void window.consentry.init({
      key,
      api,
      language: language ?? document.documentElement.lang,
      nonce: tag.nonce,
      map: JSON.parse(map ?? "{}"),
      anonymousId,
    });
  }
}
