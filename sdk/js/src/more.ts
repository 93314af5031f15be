/** What not every page needs: telling the server, deleting, analytics objects, a signed-in person's stream. */
import { forget } from "./clear";
import { flush } from "./post";
import { rudderConsent, wrap } from "./segment";
import { follow } from "./stream";

const more = { flush, follow, forget, rudderConsent, wrap };
export type More = typeof more;

window.consentry?.land("more", more);
