/** The ESM entry. A page that has the script tag too shares its state. */
import { createApi } from "./api";

const shared = (window.consentry ??= createApi(new URL(".", import.meta.url).href));

export const { init, getCategories, onChange, consentModel, withConsentry, open, answer, withdraw, when, identify, ready } = shared;
