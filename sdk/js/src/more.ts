/** What not every page needs: telling the server, deleting, analytics objects, a signed-in person's stream. */
import { clear } from "./clear";
import { expire, flush } from "./post";
import { rudderConsent, wrap } from "./segment";
import { follow } from "./stream";

const more = { clear, expire, flush, follow, rudderConsent, wrap };
export type More = typeof more;

window.consentry?.land("more", more);
