/** The ESM entry. */
export {};
