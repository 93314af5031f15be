/** The second file: it makes the controls of `ui/` and gives them what the loader offers. */
import { open } from "./ask";
import { readAnswer } from "./cookie";
import type { Core } from "./core";
import { noted } from "./post";
import { heldTopics, sendChannel, sendTopics } from "./topics";
import type { Controller, Evidence, Surface, Ui } from "./types";
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

/** What the person had seen: all words of the notice, those of placeholders too, are under its hash. */
function shown({ policy }: Core, surface: Surface, host?: string): Evidence {
  const { notice, language, ruleVersion } = policy!;
  const jurisdiction = policy!.jurisdiction ?? undefined;
  const { id: noticeId, version: noticeVersion, hash: noticeHash } = notice;
  return { surface, language, host, jurisdiction, ruleVersion, noticeId, noticeVersion, noticeHash };
}

function controllerOf(core: Core): Controller {
  let shownTo: string | undefined;
  return {
    get policy() {
      return core.policy!;
    },
    get asking() {
      const categories = core.policy!.categories.filter(open).map(({ id }) => id);
      return core.asking() ?? { why: "opened", changed: [], categories };
    },
    get gpc() {
      return core.gpc();
    },
    types: core.types,
    categories: () => core.categories(),
    answered: () => core.answered(),
    granted: (id) => !!readAnswer(Date.now() / 1000)?._granted.includes(id),
    topics() {
      shownTo = core.user?.id;
      return heldTopics(core);
    },
    async answer(choice, action, surface, { topics, host } = {}) {
      const evidence = shown(core, surface, host);
      core.answer(choice, action, evidence);
      if (topics && shownTo && shownTo === core.user?.id) sendTopics(core, shownTo, topics, action, evidence);
    },
    async refuse(channel) {
      if (!shownTo || shownTo !== core.user?.id) throw new Error("somebody else is signed in");
      sendChannel(core, shownTo, channel, shown(core, "preference_centre"));
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

window.consentry?.land("ui", startUi);
