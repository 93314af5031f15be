/** What is in force, and whether to ask. Values in, values out: cases in tests/sdk/cases. */
import { type Answer, DAY_S } from "./cookie";
import type { Asking, Categories, Policy, PolicyCategory } from "./types";

export const open = (category: PolicyCategory) => !category.essential && !category.prohibited;

const HOUR_S = 3600;

export const noticeOf = ({ notice }: Policy) => `${notice.id}@${notice.version}`;

/** Whether every category that there was to refuse was. */
const refused = (policy: Policy, answer: Answer) =>
  policy.categories.every(
    (one) => !open(one) || answer._denied.includes(one.id) || (newer(policy, one, answer) && !answer._granted.includes(one.id)),
  );

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
  return (said < is && policy.notice.changed.includes(id)) || Date.parse(since ?? "") > (at + (said === is ? HOUR_S : 0)) * 1000;
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
    if (prohibited || against.includes(id) || answer?._denied.includes(id)) return false;
    const granted = !expired && answer._granted.includes(id) && !newer(policy, category, answer);
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
  const first: Asking = { why: "first", changed: [] };
  if (!answer) return first;
  const no = refused(policy, answer);
  if (no && againAfterDays !== null && !older(answer, againAfterDays, now)) return null;
  const asked = policy.categories.filter(open);
  const changed = asked.filter((one) => newer(policy, one, answer)).map(({ id }) => id);
  if (changed.length || answer._notice !== noticeOf(policy)) return { why: "changed", changed };
  // Only some were answered: the rest has not been asked about yet.
  if (asked.some(({ id }) => ![...answer._granted, ...answer._denied].includes(id))) return first;
  return older(answer, no ? refusalDays : grantDays, now) ? { why: "expired", changed: [] } : null;
}
