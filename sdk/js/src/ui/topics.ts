/** What the person who is signed in may be sent: each topic, with the channels that it goes by. */
import type { Action, Topics } from "../types";
import type { Desk } from "./desk";
import { make } from "./dom";
import { toggle } from "./toggle";

/** The switches, as things stand now. */
export function topicsOf({ controller, words }: Desk, held: Topics): HTMLElement {
  const rows = controller.policy.topics.map(({ id, name, channels }, place) => {
    const title = `consentry-topic-${place}`;
    const items = channels.map((channel) =>
      make(
        "li",
        {},
        make(
          "label",
          {},
          make("span", { class: "consentry-channel" }, words.say(`page.channel.${channel}`, {}, channel)),
          ...toggle(words, {
            "data-consentry": "topic",
            name: id,
            value: channel,
            checked: held[id]?.[channel] === true,
          }),
        ),
      ),
    );
    const group = { role: "group", "aria-labelledby": title };
    const named = make("span", { class: "consentry-name", id: title }, name);
    return make("li", {}, make("div", group, named, make("ul", { role: "list" }, ...items)));
  });
  return make(
    "fieldset",
    { "data-consentry": "topics" },
    make("legend", {}, words.say("page.preferences.topics")),
    make("ul", { role: "list" }, ...rows),
  );
}

/**
 * What an answer says of the topics that are shown, if anything. Reject is a no to all of them, as on the
 * page of its own. Accept is about the categories: of topics it says what the person switched here.
 */
export function chosenTopics(centre: HTMLElement, action: Action): Topics | undefined {
  const said: Topics = {};
  for (const input of centre.querySelectorAll<HTMLInputElement>("[data-consentry=topic]")) {
    const { name, value, checked, defaultChecked } = input;
    if (action === "accept_all" && checked === defaultChecked) continue;
    (said[name] ??= {})[value] = checked && action !== "reject_all";
  }
  return Object.keys(said).length ? said : undefined;
}
