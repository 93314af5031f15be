/** What is asked, as the policy document has it. Nothing is decided here. */
import type { Categories, Controller, Policy, PolicyCategory } from "../types";

/** The categories that a person can answer for. */
export function askable(policy: Policy): PolicyCategory[] {
  return policy.categories.filter((category) => !category.essential && !category.prohibited);
}

/**
 * One answer for everything that is asked. What the browser's signal refuses is not part of a yes to
 * all: only its own switch outweighs the signal.
 */
export function everything(controller: Controller, answer: boolean, among = askable(controller.policy)): Categories {
  const refused = refusedBySignal(controller);
  const given = (category: PolicyCategory) => answer && !refused.includes(category);
  return Object.fromEntries(among.map((category) => [category.id, given(category)]));
}

/** What the banner asks about. */
export function asked({ policy, asking }: Controller): PolicyCategory[] {
  return askable(policy).filter(({ id }) => asking.categories.includes(id));
}

/** What the browser's signal refuses, if it is sent and honoured, and no answer here outweighs it. */
export function refusedBySignal(controller: Controller): PolicyCategory[] {
  const { gpc } = controller.policy;
  if (!controller.gpc || !gpc.honoured) return [];
  const now = controller.categories();
  return askable(controller.policy).filter(({ id }) => gpc.covers.includes(id) && !now[id]);
}

/** Whether the page has to say that the signal is honoured. */
export function signalShown(controller: Controller): boolean {
  return controller.policy.gpc.show && refusedBySignal(controller).length > 0;
}
