/** The script tag. */
import { consentry } from "./api";

window.consentry ??= consentry;
