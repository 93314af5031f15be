/**
 * The answer as the browser keeps it: one first-party cookie, shared by a site's subdomains.
 *
 * What is unreadable in any part is no answer. Where cookies are blocked the answer lives as
 * long as the page. (Names that begin with `_` are shortened by the build.)
 */
import type { Policy } from "./types";

export interface Answer {
  /** The anonymousId that the answer was given for. */
  _id: string;
  /** `id@version` of the notice that was shown. */
  _notice: string;
  /** When it was given, in seconds since 1970. */
  _at: number;
  _granted: string[];
  _denied: string[];
  /** When Global Privacy Control was first seen here, in seconds since 1970; 0 where it is not. */
  _gpcAt: number;
}

export const DAY_S = 86400;
const NAME = "consentry";
let memory: Answer | null = null;

const list = (text = "") => text.split(",").filter(Boolean);
const seconds = (text = "") => (/^\d{1,11}$/.test(text) ? +text : NaN);

/** `now` is in seconds. An answer dated more than a day ahead has an age that nobody knows. */
export function parse(value: string, now: number): Answer | null {
  const found: Record<string, string> = {};
  try {
    for (const part of value.split("&")) {
      const [name, text] = split(part);
      if (!name || name in found) return null;
      found[name] = decodeURIComponent(text);
    }
  } catch {
    return null;
  }
  const { v, id, n = "", t, g, d, s = "0" } = found;
  const [at, gpcAt] = [seconds(t), seconds(s)];
  if (v !== "1" || !id || g === undefined || !(at <= now + DAY_S) || gpcAt !== gpcAt) return null;
  return { _id: id, _notice: n, _at: at, _granted: list(g), _denied: list(d), _gpcAt: gpcAt };
}

export function serialise(answer: Answer): string {
  const { _id: id, _notice: n, _at: t, _granted, _denied, _gpcAt } = answer;
  const members = { v: 1, id, n, t, g: _granted.join(), d: _denied.join(), ...(_gpcAt && { s: _gpcAt }) };
  return Object.entries(members).map(([name, value]) => `${name}=${encodeURIComponent(value)}`).join("&");
}

/** Two cookies of the name contradict each other: then nothing is known. */
export function readAnswer(now: number): Answer | null {
  const found = own();
  return found.length > 1 ? null : found.length ? parse(found[0]!, now) : memory;
}

export function writeAnswer(answer: Answer, { domain, days }: Policy["cookie"]): void {
  const value = serialise(answer);
  const stands = () => own().includes(value);
  const set = (text: string, age: number, more = "") =>
    setCookie(`${NAME}=${text};Max-Age=${age};Path=/;SameSite=Lax${location.protocol === "https:" ? ";Secure" : ""}${more}`);
  if (domain) {
    set("", 0); // one of this host alone would contradict the shared one
    set(value, days * DAY_S, `;Domain=${domain}`);
  }
  if (!domain || !stands()) set(value, days * DAY_S);
  memory = stands() ? null : answer;
}

export function setCookie(text: string): void {
  try {
    document.cookie = text;
  } catch {
    // A sandboxed frame has none.
  }
}

function split(pair: string): [string, string] {
  const at = pair.indexOf("=");
  return [pair.slice(0, Math.max(at, 0)), pair.slice(at + 1)];
}

/** Names and values of every cookie that a script may see. */
export function cookies(): [string, string][] {
  try {
    return document.cookie.split("; ").map(split);
  } catch {
    return [];
  }
}

const own = () => cookies().filter(([name]) => name === NAME).map(([, value]) => value);
