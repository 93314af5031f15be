/**
 * The answer as the browser keeps it: one first-party cookie, shared by a site's subdomains.
 *
 * One that is unreadable in any part may be a refusal: then everything is refused until the
 * person answers again. Where cookies are blocked the answer lives as long as the page. (Names
 * that begin with `_` are shortened by the build.)
 */
import type { Policy } from "./types";

export interface Answer {
  /** The anonymousId that the answer was given for. */
  _id: string;
  /** `id@version` of the notice that was shown. */
  _notice: string;
  /** When it was given, in seconds since 1970; 0 where nobody knows, and so nobody knows what it was. */
  _at: number;
  _granted: string[];
  /** `ALL` may be among them, and `UNTOLD`. */
  _denied: string[];
  /** When Global Privacy Control was first seen here, in seconds since 1970; 0 where it never was. */
  _gpcAt: number;
}

export const DAY_S = 86400;
/** Every category that can be refused, also those that this page does not know. */
export const ALL = "*";
/** Refused before the page knew its policy: the server has not been told. */
export const UNTOLD = "!";
const NAME = "consentry";
let memory: Answer | null = null;

const list = (text = "") => text.split(",").filter(Boolean);
const seconds = (text = "") => (/^\d{1,11}$/.test(text) ? +text : NaN);

const lost = (_id = ""): Answer => ({ _id, _notice: "", _at: 0, _granted: [], _denied: [ALL], _gpcAt: 0 });

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
  if (v !== "1" || !id || g === undefined || at !== at || gpcAt !== gpcAt) return null;
  if (at > now + DAY_S) return lost(id);
  return { _id: id, _notice: n, _at: at, _granted: list(g), _denied: list(d), _gpcAt: gpcAt };
}

export function serialise(answer: Answer): string {
  const { _id: id, _notice: n, _at: t, _granted, _denied, _gpcAt } = answer;
  const members = { v: 1, id, n, t, g: _granted.join(), d: _denied.join(), ...(_gpcAt && { s: _gpcAt }) };
  return Object.entries(members).map(([name, value]) => `${name}=${encodeURIComponent(value)}`).join("&");
}

/** Two cookies of the name contradict each other. */
export function readAnswer(now: number): Answer | null {
  const found = own();
  if (!found.length) return memory;
  const first = parse(found[0]!, now);
  return (found.length < 2 && first) || lost(first?._id);
}

/** It is written for one domain only, and goes on all others: they would contradict each other. Where it cannot be written no older one stays. */
export function writeAnswer(answer: Answer, { domain, days }: Policy["cookie"]): void {
  const value = serialise(answer);
  const stands = () => own().includes(value);
  const secure = location.protocol === "https:" ? ";Secure" : "";
  const set = (on: string, text = value, age = days) =>
    setCookie(`${NAME}=${text};Max-Age=${age * DAY_S};Path=/;SameSite=Lax${secure}${on && `;Domain=${on}`}`);
  let here = domain?.replace(/^\./, "") ?? "";
  set(here);
  if (!stands()) set((here = ""));
  for (const other of domains()) if (!stands() || (own().length > 1 && other !== here)) set(other, "", 0);
  memory = stands() ? null : answer;
}

/** What a cookie of this page may belong to: this host alone, and every domain above it. */
export function domains(): string[] {
  const labels = location.hostname.split(".");
  return ["", ...labels.map((_, n) => labels.slice(n).join("."))];
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
