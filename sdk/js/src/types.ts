/** What the loader and the pages' controls agree on (docs/decisions/0012-capture-in-parts.md). */

export type Categories = Record<string, boolean>;
/** By topic, then by channel. */
export type Topics = Record<string, Record<string, boolean>>;
export type Regime = "opt_in" | "opt_out" | "notice";

export interface PolicyCategory {
  id: string;
  name: string;
  description?: string;
  essential: boolean;
  regime: Regime;
  default: boolean;
  prohibited: boolean;
  gpc: boolean;
  /** RFC 3339: when it took the meaning that it has. A grant made before is none. */
  since?: string | null;
  destinations: string[];
  tags: string[];
}

export interface Tag {
  name: string;
  categories: string[];
  hosts: string[];
  cookies: string[];
  /** Whether a loaded tag stops when it is told to; if not, the page is loaded anew. */
  revoke: boolean;
  /** What to call then, from `window` on: `stats.stop`. A function of the page's own comes first. */
  stop?: string | null;
  mode: "basic" | "advanced";
}

export interface Policy {
  regime: Regime;
  jurisdiction: string | null;
  ruleVersion: string;
  notice: {
    id: string;
    version: string;
    hash: string;
    layout: "bar" | "box" | "modal";
    theme: "auto" | "light" | "dark";
    privacyUrl: string | null;
    changed: string[];
  };
  language: string;
  direction: "ltr" | "rtl";
  languages: string[];
  texts: Record<string, string>;
  ask: {
    required: boolean;
    grantDays: number | null;
    refusalDays: number | null;
    againAfterDays: number | null;
  };
  categories: PolicyCategory[];
  topics: { id: string; name: string; channels: string[] }[];
  /** Sent without consent, and why: shown on the page of its own, where nobody switches it. */
  transactional?: { id: string; name: string; channels: string[]; why: string }[];
  gpc: { covers: string[]; honoured: boolean; show: boolean };
  tags: Tag[];
  cookie: { domain: string | null; days: number };
  /** Whether the pages have a policy of the server that follows consent (docs/csp.md). */
  pagePolicy?: boolean;
}

export type Action = "accept_all" | "reject_all" | "save" | "withdraw";
export type Surface = "banner" | "preference_centre" | "placeholder" | "form" | "link" | "api";

/** What a page says of how it asked: the members of a choice's `evidence`, `POST /v1/consent`. */
export interface Evidence {
  surface?: Surface;
  noticeId?: string;
  noticeVersion?: string;
  noticeHash?: string;
  noticeText?: string;
  language?: string;
  /** On a placeholder: from where the content comes that stood behind it. */
  host?: string;
  /** The place whose rule the person was asked under; when the answer arrives it may come from another. */
  jurisdiction?: string;
  ruleVersion?: string;
}

/** What is said beside an answer: topics of the person, the host that a placeholder named. */
export interface Beside {
  topics?: Topics;
  host?: string;
}

/** Why the person is asked. `changed` categories are named in the banner. */
export interface Asking {
  why: "first" | "changed" | "expired" | "opened";
  changed: string[];
  /** What is asked about. Whoever refused the rest lately is not asked about it again. */
  categories: string[];
}

/** What the loader offers to whatever asks the person. */
export interface Controller {
  readonly policy: Policy;
  readonly asking: Asking;
  /** The policy of trusted types for the markup of the page itself. */
  readonly types: { createHTML(text: string): string };
  /** Whether the browser sends Global Privacy Control. */
  readonly gpc: boolean;
  /** What is in force now, for every category. */
  categories(): Categories;
  /** Whether the person has answered, and the answer still holds. */
  answered(): boolean;
  /** Whether the person said yes to it, so that it is not for silence that it is in force. */
  granted(id: string): boolean;
  /** What the person who is signed in is sent now; null where nobody is, or nobody can say. */
  topics(): Promise<Topics | null>;
  /** Take an answer: in force at once, then stored and sent. Its topics are those of who `topics()` told of. */
  answer(choice: Categories, action: Action, surface: Surface, beside?: Beside): Promise<void>;
  /** Refuse a channel as a whole, for who `topics()` told of. Fails where that is somebody else by now. */
  refuse(channel: string): Promise<void>;
  /** Load what one placeholder stands for, this once, without an answer being recorded. */
  once(element: Element): void;
  /** Tell that the notice was shown, or closed without an answer. Counted, nothing more. */
  noted(what: "shown" | "closed", surface: Surface): void;
  onChange(listener: (categories: Categories) => void): () => void;
}

/** What `consentry-ui.js` offers to the loader. */
export interface Ui {
  banner(): void;
  centre(opener?: Element | null): void;
  /** Put the control that asks for `categories` in the place of a gated iframe. */
  placeholder(element: Element, categories: string[]): void;
  close(): void;
}

export type Mount = (controller: Controller) => Ui;
