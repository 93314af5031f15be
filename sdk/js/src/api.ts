import type { Mount } from "./types";

declare global {
  interface Window {
    consentry?: typeof consentry;
  }
}

export const consentry = {
  mount(_mount: Mount): void {},
};
