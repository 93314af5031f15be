/** What the person who is signed in may be sent: each topic, with the channels that it goes by. */
import type { Action, Topics } from "../types";
import type { Desk } from "./desk";
import { button, make } from "./dom";
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

/** A channel as a whole: it is refused by one press, at once. The rest of the centre stays as it is. */
export function channelsOf(desk: Desk): HTMLElement {
  const { controller, words } = desk;
  const channels = [...new Set(controller.policy.topics.flatMap((topic) => topic.channels))];
  const about = "consentry-channels-text";
  const rows = channels.map((channel, place) => {
    const [name, press] = [`consentry-way-${place}`, `consentry-stop-${place}`];
    const stop = button("stop", words.say("page.channels.stop"), "plain", () => {
      void controller.refuse(channel).then(() => {
        const done = make("span", { class: "consentry-state", tabindex: "-1", role: "status" }, words.say("page.channels.stopped"));
        const centre = stop.closest("dialog");
        stop.replaceWith(done);
        done.focus();
        for (const input of centre?.querySelectorAll<HTMLInputElement>("[data-consentry=topic]") ?? []) {
          if (input.value !== channel) continue;
          input.checked = input.defaultChecked = false;
          input.dispatchEvent(new Event("change"));
        }
      }, () => undefined); // nothing is claimed that was not done
    });
    stop.id = press;
    stop.value = channel;
    stop.setAttribute("aria-labelledby", `${name} ${press}`);
    stop.setAttribute("aria-describedby", about);
    const named = make("span", { class: "consentry-channel", id: name }, words.say(`page.channel.${channel}`, {}, channel));
    return make("li", {}, make("div", { class: "consentry-way" }, named, stop));
  });
  return make(
    "fieldset",
    { "data-consentry": "channels" },
    make("legend", {}, words.say("page.channels.title")),
    make("p", { id: about }, words.say("page.channels.text")),
    make("ul", { role: "list" }, ...rows),
  );
}
