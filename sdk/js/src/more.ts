/** What not every page needs: telling the server, deleting, analytics objects, a signed-in person's stream. */
import { forget } from "./clear";
import { load } from "./load";
import { begin, flush } from "./post";
import { watchScripts } from "./running";
import { rudderConsent, wrap } from "./segment";
import { follow } from "./stream";

watchScripts();
const more = { begin, flush, follow, forget, load, rudderConsent, wrap };
export type More = typeof more;

window.consentry?.land("more", more);
