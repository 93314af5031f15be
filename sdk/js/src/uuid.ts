/** A random UUID, also where the page is not served over https, and `crypto.randomUUID` is missing: a blob's address ends with one. */
export function uuid(): string {
  const address = URL.createObjectURL(new Blob());
  URL.revokeObjectURL(address);
  return address.slice(-36);
}

export const sleep = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms));
