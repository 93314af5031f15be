/** What is in force, and whether to ask. Values in, values out: cases in tests/sdk/cases. */
import { ALL, type Answer, DAY_S } from "./cookie";
import type { Asking, Categories, Policy, PolicyCategory } from "./types";

export const open = (category: PolicyCategory) => !category.essential && !category.prohibited;

const HOUR_S = 3600;

export const noticeOf = ({ notice }: Policy) => `${notice.id}@${notice.version}`;

/** Whether the person refused it. */
export const no = ({ _denied }: Pick<Answer, "_denied">, id: string) => _denied.some((one) => one === id || one === ALL);

/** `days` null: no limit. */
const older = (answer: Answer, days: number | null, now: number) =>
  days !== null && now - answer._at >= days * DAY_S;

/**
 * Whether a category took another meaning after the answer.
 *
 * Who answered this very notice saw what it says; a clock may be an hour slow, and seconds are
 * rounded down. Who answered an earlier one did not, whenever that was: a page may lie open.
 */
const newer = (policy: Policy, { id, since }: PolicyCategory, { _at: at, _notice: said }: Answer) => {
  const is = noticeOf(policy);
  return (said !== is && policy.notice.changed.includes(id)) || Date.parse(since ?? "") > (at + (said === is ? HOUR_S : 0)) * 1000;
};

/**
 * What is in force for every category, at `now` in seconds.
 *
 * A denial does not age. A grant does; then silence decides, as the regime has it. `against` are
 * categories that were refused somewhere else.
 */
export function inForce(
  policy: Policy,
  answer: Answer | null,
  gpc: boolean,
  now: number,
  against: string[] = [],
): Categories {
  const expired = !answer || older(answer, policy.ask.grantDays, now);
  const decide = (category: PolicyCategory) => {
    const { id, essential, prohibited, default: silence } = category;
    if (essential) return true;
    if (prohibited || against.includes(id) || (answer && no(answer, id))) return false;
    const granted = !expired && answer._granted.includes(id) && !newer(policy, category, answer);
    // An explicit choice made after the signal was first seen here outweighs it; that it is gone says nothing.
    const seen = answer?._gpcAt;
    if ((gpc || seen) && policy.gpc.covers.includes(id)) return granted && !!seen && answer._at >= seen;
    return granted || silence;
  };
  return Object.fromEntries(policy.categories.map((category) => [category.id, decide(category)]));
}

/** Why the person is to be asked now, and about what; null where there is no reason, or not yet. */
export function asking(policy: Policy, answer: Answer | null, now: number): Asking | null {
  const { required, grantDays, refusalDays, againAfterDays } = policy.ask;
  const known = answer?._at ? answer : null;
  const refused = (id: string) => !!known && no(known, id);
  // Whoever refused something is left alone about it for a while, whatever the reason to ask; and about what came later, if nothing was granted.
  const waits = (one: PolicyCategory) => refused(one.id) || (!!known && !known._granted[0] && newer(policy, one, known));
  const wait = !!known && againAfterDays !== null && !older(known, againAfterDays, now);
  const asked = policy.categories.filter((one) => open(one) && !(wait && waits(one)));
  if (!required || !asked.length) return null;
  const ask = (why: Asking["why"], changed: string[] = []): Asking => ({ why, changed, categories: asked.map(({ id }) => id) });
  if (!known) return ask("first");
  const granted = (id: string) => known._granted.includes(id);
  const changed = asked.filter((one) => newer(policy, one, known)).map(({ id }) => id);
  if (changed.length || known._notice !== noticeOf(policy)) return ask("changed", changed);
  // Only some were answered: the rest has not been asked about yet, unless silence is enough there.
  if (asked.some((one) => !one.default && !granted(one.id) && !refused(one.id))) return ask("first");
  const days = (id: string) => (refused(id) ? refusalDays : granted(id) ? grantDays : null);
  return asked.some(({ id }) => older(known, days(id), now)) ? ask("expired") : null;
}
