/** The second file: it makes the controls of `ui/` and gives them what the loader offers. */
import type { Core } from "./core";
import { noted } from "./post";
import { heldTopics, sendTopics } from "./topics";
import type { Controller, Ui } from "./types";
import { mount } from "./ui/index";

/** Nothing is shown unstyled. */
function sheet(files: string): Promise<unknown> {
  const link = document.createElement("link");
  link.rel = "stylesheet";
  link.href = `${files}consentry-ui.css`;
  return new Promise((resolve) => {
    link.onload = link.onerror = resolve;
    document.head.append(link);
  });
}

function controllerOf(core: Core): Controller {
  let shownTo: string | undefined;
  return {
    policy: core.policy!,
    get asking() {
      return core.asking() ?? { why: "opened", changed: [] };
    },
    gpc: core.gpc(),
    categories: () => core.categories(),
    answered: () => core.answered(),
    topics() {
      shownTo = core.user?.id;
      return heldTopics(core);
    },
    async answer(choice, action, surface, topics) {
      core.answer(choice, action, surface);
      if (topics && shownTo && shownTo === core.user?.id) sendTopics(core, shownTo, topics);
    },
    once: (element) => core.once(element),
    noted: (what, surface) => noted(core, what, surface),
    onChange: (listener) => core.onChange(listener),
  };
}

export type StartUi = typeof startUi;

/** The loader's side stands here and not in the loader, which every page loads. */
async function startUi(core: Core): Promise<Ui> {
  await sheet(core.options.files!);
  return mount(controllerOf(core));
}

window.consentry?.mount(mount, startUi);
