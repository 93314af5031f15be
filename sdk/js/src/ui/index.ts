/** What asks the person. To come: until then nothing is shown, and nothing is granted. */
import type { Mount } from "../types";

export const mount: Mount = () => ({ banner() {}, centre() {}, placeholder() {}, close() {} });
