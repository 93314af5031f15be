/** What is asked, as the policy document has it. Nothing is decided here. */
import type { Categories, Controller, Policy, PolicyCategory } from "../types";

/** The categories that a person can answer for. */
export function askable(policy: Policy): PolicyCategory[] {
  return policy.categories.filter((category) => !category.essential && !category.prohibited);
}

/** One answer for everything that is asked. */
export function everything(policy: Policy, answer: boolean): Categories {
  return Object.fromEntries(askable(policy).map((category) => [category.id, answer]));
}

/** What the browser's signal refuses, if it is sent and honoured. */
export function refusedBySignal(controller: Controller): PolicyCategory[] {
  const { gpc } = controller.policy;
  if (!controller.gpc || !gpc.honoured) return [];
  return askable(controller.policy).filter((category) => gpc.covers.includes(category.id));
}

/** Whether the page has to say that the signal is honoured. */
export function signalShown(controller: Controller): boolean {
  return controller.policy.gpc.show && refusedBySignal(controller).length > 0;
}
