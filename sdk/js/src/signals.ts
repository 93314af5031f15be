/**
 * What tags are told: Google Consent Mode v2, Microsoft UET and Clarity, dataLayer events.
 *
 * The default comes before anything else and denies; updates name only what changed.
 */
import type { Categories } from "./types";

type Words = Record<string, "granted" | "denied">;

/** Which keys a category of a usual name stands for; a page may say it otherwise. */
const USUAL: [RegExp, string[]][] = [
  [/^(ads|advertising|marketing)$/, ["ad_storage", "ad_user_data", "ad_personalization"]],
  [/^(analytics|statistics|measurement|performance)$/, ["analytics_storage"]],
  [/^(functional(ity)?|preferences|personali[sz]ation)$/, ["functionality_storage", "personalization_storage"]],
];
const KEYS = USUAL.flatMap(([, keys]) => keys);

export type GoogleKeys = Record<string, string[]>;

let told: Words = {};

// Google's tags read the arguments object itself; an array would be ignored.
const gtag: (...args: unknown[]) => void = function () {
  (window.dataLayer ??= []).push(arguments);
};

function tell(how: "default" | "update", words: Words): void {
  const { ad_storage, analytics_storage } = words;
  (window.uetq ??= []).push("consent", how, { ad_storage });
  window.clarity ??= function () {
    (window.clarity!.q ??= []).push(arguments);
  };
  window.clarity("consentv2", { ad_Storage: ad_storage, analytics_Storage: analytics_storage });
}

/** Before anything is known everything is denied. */
export function signalDefault(): void {
  told = Object.fromEntries(KEYS.map((key) => [key, "denied"]));
  gtag("consent", "default", { ...told, security_storage: "granted", wait_for_update: 500 });
  gtag("set", "ads_data_redaction", true);
  tell("default", told);
}

/** A key is granted where some category stands for it and each that does is granted. */
export function wordsFor(categories: Categories, keys: GoogleKeys = {}): Words {
  const ids = Object.keys(categories);
  const stands = (id: string, key: string) => (keys[id] ?? USUAL.find(([name]) => name.test(id))?.[1] ?? []).includes(key);
  return Object.fromEntries(
    KEYS.map((key) => {
      const behind = ids.filter((id) => stands(id, key));
      return [key, behind.length && behind.every((id) => categories[id]) ? "granted" : "denied"];
    }),
  );
}

export function signalUpdate(categories: Categories, keys?: GoogleKeys): void {
  const words = wordsFor(categories, keys);
  const news = Object.entries(words).filter(([key, word]) => word !== told[key]);
  if (news.length) {
    gtag("consent", "update", Object.fromEntries(news));
    tell("update", words);
  }
  told = words;
  window.dataLayer!.push({ event: "consentry_change", consentry: categories });
}

declare global {
  interface Window {
    dataLayer?: unknown[];
    uetq?: unknown[] | { push(...args: unknown[]): void };
    clarity?: ((...args: unknown[]) => void) & { q?: unknown[] };
  }
}
