/** What is in force, and whether to ask. Values in, values out: cases in tests/sdk/cases. */
import { type Answer, DAY_S } from "./cookie";
import type { Asking, Categories, Policy, PolicyCategory } from "./types";

export const open = (category: PolicyCategory) => !category.essential && !category.prohibited;

export const noticeOf = ({ notice }: Policy) => `${notice.id}@${notice.version}`;

/** Whether every category that can be refused was. */
const refused = (policy: Policy, answer: Answer) =>
  !policy.categories.some((category) => open(category) && answer._granted.includes(category.id));

/** `days` null: no limit. */
const older = (answer: Answer, days: number | null, now: number) =>
  days !== null && now - answer._at >= days * DAY_S;

/** Whether a category took another meaning after the answer. */
const newer = ({ since }: PolicyCategory, answer: Answer) => Date.parse(since ?? "") > answer._at * 1000;

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
    if (prohibited || against.includes(id) || answer?._denied.includes(id)) return false;
    const granted = !expired && answer._granted.includes(id) && !newer(category, answer);
    // An explicit choice made after the signal was first seen here outweighs it.
    if (gpc && policy.gpc.covers.includes(id)) return granted && answer._gpcAt > 0 && answer._at >= answer._gpcAt;
    return granted || silence;
  };
  return Object.fromEntries(policy.categories.map((category) => [category.id, decide(category)]));
}

/** Why the person is to be asked now; null where there is no reason, or not yet. */
export function asking(policy: Policy, answer: Answer | null, now: number): Asking | null {
  const { required, grantDays, refusalDays, againAfterDays } = policy.ask;
  if (!required) return null;
  if (!answer) return { why: "first", changed: [] };
  const no = refused(policy, answer);
  if (no && againAfterDays !== null && !older(answer, againAfterDays, now)) return null;
  const said = [...answer._granted, ...answer._denied];
  const unsaid = policy.categories.filter((one) => open(one) && (!said.includes(one.id) || newer(one, answer)));
  const other = answer._notice !== noticeOf(policy);
  if (other || unsaid.length) {
    const named = [...unsaid.map(({ id }) => id), ...(other ? policy.notice.changed : [])];
    return { why: "changed", changed: [...new Set(named)] };
  }
  return older(answer, no ? refusalDays : grantDays, now) ? { why: "expired", changed: [] } : null;
}
