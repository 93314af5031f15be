"""What links and mails need of the configuration, and who hands letters over."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from consentry.config.values import Pages
from consentry.core.moment import DAY, SECOND, Moment
from consentry.core.policy import Policy, topic_key
from consentry.core.record import Node, NodeKind
from consentry.flow.links import Link, Links, LinkType
from consentry.mail import Sender

PATHS = {LinkType.WITHDRAW: "/unsubscribe", LinkType.EDIT: "/preferences"}
CONFIRM = "/confirm"
# Which kind of address a channel reaches. Others are chosen on the pages, not by forms.
CHANNELS = {"email": NodeKind.EMAIL, "sms": NodeKind.PHONE}


@dataclass(frozen=True)
class Office:
    """One configuration's links and mails. ``site`` is the name that people know.

    ``texts`` gives the texts of a language, ``topic_name`` a topic's name in one.
    ``senders`` has one for each kind of address that can be written to.
    """

    site: str = ""
    base_url: str | None = None
    pages: Pages = field(default_factory=Pages)
    texts: Callable[[str], Mapping[str, str]] = lambda language: {}
    topic_name: Callable[[str, str], str] = lambda topic, language: topic
    senders: Mapping[NodeKind, Sender] = field(default_factory=dict)
    links: Links = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "links", Links(self.pages.secrets))

    @property
    def ready(self) -> bool:
        """Whether links can be made that somebody can follow."""
        return self.links.ready and self.base_url is not None

    def reaches(self, kind: NodeKind) -> bool:
        """Whether a letter with a link can be sent to such an address."""
        return self.ready and kind in self.senders

    def url(self, type_: LinkType, link: Link) -> str:
        """A link. Raises LookupError where none can be made."""
        return self._url(PATHS[type_], self.links.token(type_, link))

    def confirmation_url(self, token: str) -> str:
        return self._url(CONFIRM, token)

    def withdrawal(
        self, subject: tuple[Node, ...], now: Moment, keys: tuple[str, ...] | None = None
    ) -> Link:
        """What a link in every mail may say: no."""
        expires_at = now + self.pages.withdraw_days * DAY
        return Link(subject=subject, expires_at=expires_at, keys=keys)

    def editing(
        self,
        subject: tuple[Node, ...],
        now: Moment,
        keys: tuple[str, ...] | None = None,
        *,
        alone: bool = False,
    ) -> Link:
        """What may say yes and no, for a short time."""
        expires_at = now + self.pages.edit_minutes * 60 * SECOND
        return Link(subject=subject, expires_at=expires_at, keys=keys, alone=alone)

    def _url(self, path: str, token: str) -> str:
        if self.base_url is None:
            raise LookupError("[server].base_url is not set")
        return f"{self.base_url}{path}?t={token}"  # tokens need no quoting

    def topic_names(self, policy: Policy, keys: tuple[str, ...], language: str) -> str:
        """The topics behind some keys, each named once."""
        names = {
            self.topic_name(topic.id, language): None
            for topic in policy.topics
            for channel in topic.channels
            if topic_key(topic.id, channel) in keys
        }
        return ", ".join(names)


def fill(text: str, **values: object) -> str:
    """A text with its ``{placeholders}`` filled; others are left as they stand."""
    for name, value in values.items():
        text = text.replace("{" + name + "}", str(value))
    return text
