"""A topic that a system does not know by an id of its own is said at the start."""

from __future__ import annotations

from typing import Any

import pytest

from consentry.config import Config, ConfigError, Problem, read_config
from consentry.config.values import DestinationConfig
from consentry.destinations.registry import KINDS

HEAD = """
[workspace]
name = "Acme"
[[category]]
id = "email"
[[topic]]
id = "news"
channels = ["email", "sms"]
[[topic]]
id = "letters"
channels = ["post"]
[[source]]
name = "website"
write_key = "wk_website"
[server]
admin_key = "env:KEY"
"""
DESTINATION = """
[[destination]]
name = "mail"
kind = "{kind}"
categories = ["email"]
"""
REST: dict[str, tuple[str, str]] = {  # what each kind needs, and the table of its ids
    "braze": ('api_key = "env:KEY"\nbase_url = "https://rest.fra-01.braze.eu"', "groups"),
    "customerio": ('site_id = "s"\napi_key = "env:KEY"', "topic_ids"),
    "hubspot": ('access_token = "env:KEY"\nportal_id = "1"', "subscriptions"),
    "klaviyo": ('api_key = "env:KEY"', "lists"),
    "mailchimp": ('api_key = "env:CHIMP"\naudience = "A0"', "lists"),
    "sendgrid": ('api_key = "env:KEY"', "groups"),
}
ENVIRON = {"KEY": "0123456789abcdef0123456789abcdef", "CHIMP": "0123456789abcdef-us1"}


def read(kind: str, more: str) -> Config:
    text = HEAD + DESTINATION.format(kind=kind) + REST[kind][0] + "\n" + more
    return read_config(text, environ=ENVIRON, kinds=KINDS)


def said(kind: str, more: str) -> list[Problem]:
    try:
        found: Any = read(kind, more).warnings
    except ConfigError as error:
        found = error.problems
    return [p for p in found if "topic" in p.message or "id" in p.message]


def destination(config: Config) -> DestinationConfig:
    (found,) = config.destinations
    return found


@pytest.mark.parametrize("kind", REST)
def test_ids_are_read_from_a_table(kind: str) -> None:
    option = REST[kind][1]
    config = read(kind, f'topics = ["news"]\n{option} = {{ "news:email" = "10" }}\n')
    assert getattr(destination(config).options, option) == {"news:email": "10"}
    assert destination(config).topics == ("news",)
    nested = read(kind, f'topics = ["news"]\n[destination.{option}]\n"news:email" = "10"\n')
    assert destination(nested).options == destination(config).options


@pytest.mark.parametrize("kind", REST)
def test_a_topic_without_an_id_is_an_error(kind: str) -> None:
    with pytest.raises(
        ConfigError, match=rf'"news" has no id there: add "news:email".*{REST[kind][1]}'
    ):
        read(kind, 'topics = ["news"]\n')


@pytest.mark.parametrize("kind", ["braze", "klaviyo", "customerio"])
def test_a_channel_without_an_id_is_said(kind: str) -> None:
    option = REST[kind][1]
    problems = said(kind, f'topics = ["news"]\n{option} = {{ "news:email" = "10" }}\n')
    assert any('orders for "news:sms" are gated' in problem.message for problem in problems)


@pytest.mark.parametrize("kind", REST)
def test_a_topic_that_it_cannot_reach_is_an_error(kind: str) -> None:
    with pytest.raises(ConfigError, match='nobody is sent "letters"'):
        read(kind, 'topics = ["letters"]\n')


@pytest.mark.parametrize("kind", REST)
def test_an_id_of_a_topic_that_is_not_carried_is_said(kind: str) -> None:
    problems = said(kind, f'{REST[kind][1]} = {{ "news:email" = "10" }}\n')
    assert any('"news:email" has no effect' in problem.message for problem in problems)


@pytest.mark.parametrize("kind", REST)
def test_a_key_that_is_no_topic_and_channel_is_an_error_at_its_place(kind: str) -> None:
    option = REST[kind][1]
    with pytest.raises(ConfigError, match="topic:channel") as refused:
        read(kind, f'{option} = {{ "news" = "10" }}\n')
    assert any(problem.field.endswith(option) for problem in refused.value.problems)
