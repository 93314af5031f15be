/**
 * A dialog that blocks the page until it is closed. The browser makes the rest of the page inert and keeps
 * it below; here are the way of the Tab key, Escape, and where the focus goes.
 */

const FOCUSABLE = "a[href], button:not(:disabled), input:not(:disabled), summary";

/** Show a dialog. `left` is called when the person leaves it without an answer. */
export function showModal(dialog: HTMLDialogElement, left: () => void): void {
  dialog.addEventListener("cancel", (event) => {
    event.preventDefault();
    left();
  });
  // Browsers close a dialog on a second Escape without asking. That is no answer either.
  dialog.addEventListener("close", () => dialog.isConnected && left());
  dialog.addEventListener("keydown", (event) => {
    if (event.key === "Tab") turn(dialog, event);
    if (event.key !== "Escape") return;
    event.preventDefault();
    event.stopPropagation();
    left();
  });
  dialog.showModal();
  // On the heading: it is read first, and Enter answers nothing.
  dialog.querySelector<HTMLElement>("[tabindex='-1']")?.focus();
}

/** At either end, Tab goes to the other one. */
function turn(dialog: HTMLDialogElement, event: KeyboardEvent): void {
  const stops = [...dialog.querySelectorAll<HTMLElement>(FOCUSABLE)].filter(
    (element) => element.getClientRects().length > 0,
  );
  const [first, last] = [stops[0], stops[stops.length - 1]];
  const at = document.activeElement;
  const leaving = event.shiftKey ? at === first || !stops.includes(at as HTMLElement) : at === last;
  if (!leaving) return;
  event.preventDefault();
  (event.shiftKey ? last : first)?.focus();
}

/** Take a dialog away and give the focus back to what opened it, if that is still there. */
export function hideModal(dialog: HTMLDialogElement, opener: Element | null): void {
  dialog.remove();
  if (opener instanceof HTMLElement && opener.isConnected) opener.focus();
}
