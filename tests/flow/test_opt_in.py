"""Sign-ups and their mails, on a clock that the test moves."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from consentry.config import Pages
from consentry.core.choice import Answer
from consentry.core.moment import DAY, SECOND
from consentry.core.policy import Category, Policy, Topic
from consentry.core.record import Node, NodeKind
from consentry.flow import describe, opt_in, post
from consentry.flow.configure import take_policy
from consentry.flow.links import digest_of
from consentry.flow.office import Office
from consentry.flow.opt_in import Fate, Link, SignUp
from consentry.flow.record_choice import record_choice
from consentry.flow.records import Origin, Said
from consentry.flow.subjects import Subjects
from consentry.flow.world import World
from consentry.mail import Fate as MailFate
from consentry.mail import Letter, Sent
from consentry.notice import texts_of
from consentry.notice.values import Notice
from consentry.ports import StoreUnavailable
from consentry.postman import Postman
from consentry.secret import Secret
from consentry.store.memory import MemoryStore
from tests.mailbox import LINK
from tests.store.makers import NOW, notary

HOUR = 3600 * SECOND
ANN = Node(NodeKind.EMAIL, "ann@example.com")
NEWS = "topic:news:email"
WEB = Origin("website", "public")
POLICY = Policy(
    "shop", categories=(Category("analytics"),), topics=(Topic("news", "News", ("email",)),)
)


class Hands:
    """Takes letters, and answers as it is told."""

    def __init__(self) -> None:
        self.letters: list[Letter] = []
        self.answers: list[Sent] = []
        self.meanwhile: Callable[[], Any] | None = None

    async def send(self, letter: Letter) -> Sent:
        self.letters.append(letter)
        if self.meanwhile is not None:
            await self.meanwhile()
        return self.answers.pop(0) if self.answers else Sent(MailFate.SENT)


class Clock:
    """Stands still between two questions, but for a microsecond."""

    def __init__(self) -> None:
        self.time = NOW

    def now(self) -> int:
        self.time += 1
        return self.time


class Stage:
    """A world with a postman that works when it is asked to."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.store = MemoryStore(notary(), clock=self.clock.now)
        self.world = World(self.store, Subjects(self.store), self.clock, Policy("shop"), 0)  # type: ignore[arg-type]
        self.hands = Hands()
        self.told: list[str] = []
        self.lapsed = 0
        self.postman = Postman(
            self.world,
            told=lambda mail, sent: self.told.append(sent.fate),
            lapsed=self._lapse,
            chance=lambda: 0.5,
        )
        self.postman.office = Office(
            site="Shop",
            base_url="https://consent.shop.example",
            pages=Pages(secrets=(Secret("s" * 32),)),
            texts=lambda language: texts_of(Notice(), language),
            senders={NodeKind.EMAIL: self.hands},
        )

    def _lapse(self, count: int) -> None:
        self.lapsed += count

    async def begin(self) -> Stage:
        await take_policy(self.world, POLICY)
        return self

    async def ask(self, node: Node = ANN, most: int = 3) -> Fate:
        now = self.clock.now()
        sign_up = SignUp(node, (NEWS,), WEB, now, now + 48 * HOUR, "en", {"form": "footer"})
        return await opt_in.ask(self.world, sign_up, most)

    async def confirm(self, token: str) -> Link:
        link, _ = await opt_in.confirm(self.world, token, self.clock.now(), {})
        return link

    def tokens(self) -> list[str]:
        return [LINK.findall(letter.text)[0].partition("t=")[2] for letter in self.hands.letters]

    def news(self, node: Node = ANN) -> str:
        standing = self.world.subjects.standing((node,), POLICY, self.clock.now())
        found: str = describe.topics(POLICY, standing, self.clock.now())["news"]["email"][
            "effective"
        ]
        return found

    def types(self) -> list[str]:
        return [entry.record.type.value for entry in self.store.ledger()]


@pytest.fixture
async def stage() -> Stage:
    return await Stage().begin()


async def test_asking_grants_nothing_and_confirming_does(stage: Stage) -> None:
    assert await stage.ask() is Fate.REQUESTED
    assert stage.news() == "denied"
    await stage.postman.round()
    (token,) = stage.tokens()
    assert await stage.confirm(token) is Link.OPEN
    assert stage.news() == "granted"
    assert await stage.confirm(token) is Link.USED
    assert stage.types()[-2:] == ["requested", "choice"]
    assert stage.store.outbox.opt_ins_ending(NOW + 99 * DAY, 9) == []


@pytest.mark.parametrize("swept", [True, False])
async def test_what_nobody_confirms_in_time_lapses(stage: Stage, swept: bool) -> None:
    await stage.ask()
    await stage.postman.round()
    stage.clock.time += 48 * HOUR
    if swept:
        await stage.postman.round()
        await stage.postman.round()
        assert stage.types()[-2:] == ["requested", "lapsed"]
        assert stage.lapsed == 1
    assert await stage.confirm(stage.tokens()[0]) is Link.ENDED
    assert stage.news() == "denied"
    if not swept:
        await stage.postman.round()
        assert stage.types()[-1] == "lapsed"
        assert await stage.confirm(stage.tokens()[0]) is Link.ENDED


@pytest.mark.parametrize(
    ("refused", "link", "news"),
    [
        ((NEWS,), Link.ENDED, "denied"),
        (("topic:news:sms",), Link.OPEN, "granted"),
        (("analytics",), Link.OPEN, "granted"),
    ],
)
async def test_a_no_of_the_address_ends_what_it_was_asked_before(
    stage: Stage, refused: tuple[str, ...], link: Link, news: str
) -> None:
    await stage.ask()
    await stage.postman.round()
    now = stage.clock.now()
    no = Said((ANN,), Answer(frozenset(), frozenset(refused)), now, now)
    await record_choice(stage.world, no, Origin("", opt_in.LINK))

    assert await stage.confirm(stage.tokens()[0]) is link
    assert stage.news() == news
    await stage.ask()  # who asks again later may confirm that
    await stage.postman.round()
    assert await stage.confirm(stage.tokens()[-1]) is Link.OPEN


async def test_the_last_moment_counts(stage: Stage) -> None:
    await stage.ask()
    await stage.postman.round()
    (waiting,) = stage.store.outbox.opt_ins_ending(NOW + 99 * DAY, 9)
    stage.clock.time = waiting.ends_at - 2  # the clock gives the next moment
    assert await stage.confirm(stage.tokens()[0]) is Link.OPEN
    await stage.postman.round()
    assert stage.lapsed == 0


async def test_confirming_twice_at_once_grants_once(stage: Stage) -> None:
    await stage.ask()
    await stage.postman.round()
    (token,) = stage.tokens()
    told = await asyncio.gather(*(stage.confirm(token) for _ in range(3)))
    assert sorted(told) == [Link.OPEN, Link.USED, Link.USED]
    assert stage.types().count("choice") == 1


async def test_every_mail_that_went_out_has_a_link_that_works(stage: Stage) -> None:
    stage.hands.answers = [Sent(MailFate.LATER), Sent(MailFate.LATER)]
    await stage.ask()
    for _ in range(3):
        await stage.postman.round()
        stage.clock.time += HOUR
    assert stage.told == ["later", "later", "sent"]
    assert len({letter.letter_id for letter in stage.hands.letters}) == 1
    first, second, third = stage.tokens()
    assert len({first, second, third}) == 3
    assert await stage.confirm(first) is Link.OPEN
    assert await stage.confirm(third) is Link.USED


async def test_a_mail_is_tried_a_bounded_number_of_times(stage: Stage) -> None:
    stage.hands.answers = [Sent(MailFate.LATER)] * 99
    await stage.ask()
    for _ in range(40):
        await stage.postman.round()
        stage.clock.time += HOUR
    assert len(stage.hands.letters) == post.MOST_TRIES
    assert stage.store.outbox.waiting() == 0


async def test_a_try_is_on_disk_before_it_is_made(stage: Stage) -> None:
    async def look() -> None:
        later = stage.store.outbox.mails_due(NOW + DAY, 9)
        assert [mail.attempts for mail in later] == [1]
        assert stage.store.outbox.mails_due(stage.clock.now(), 9) == []
        assert stage.store.outbox.opt_in_for(digest_of(stage.tokens()[0])) is not None

    stage.hands.meanwhile = look
    await stage.ask()
    await stage.postman.round()
    assert stage.told == ["sent"]


async def test_nothing_is_sent_that_cannot_be_begun_on_disk(stage: Stage) -> None:
    await stage.ask()
    await stage.postman.round()  # so that there is nothing else to write
    await stage.ask()
    stage.store.fail_next = StoreUnavailable("the disk is full")
    with pytest.raises(StoreUnavailable):
        await stage.postman.round()
    assert len(stage.hands.letters) == 1


async def test_a_mail_whose_end_is_not_written_goes_again_with_the_same_id(stage: Stage) -> None:
    async def fail() -> None:
        stage.hands.meanwhile = None
        stage.store.fail_next = StoreUnavailable("the disk is full")

    stage.hands.meanwhile = fail
    await stage.ask()
    with pytest.raises(StoreUnavailable):
        await stage.postman.round()
    stage.clock.time += HOUR
    await stage.postman.round()
    assert len({letter.letter_id for letter in stage.hands.letters}) == 1
    assert len(stage.hands.letters) == 2


async def test_a_confirmed_sign_up_is_not_mailed_any_more(stage: Stage) -> None:
    stage.hands.answers = [Sent(MailFate.LATER)]
    await stage.ask()
    await stage.postman.round()
    await stage.confirm(stage.tokens()[0])
    stage.clock.time += HOUR
    await stage.postman.round()
    assert len(stage.hands.letters) == 1
    assert stage.store.outbox.waiting() == 0


async def test_many_at_once_do_not_pass_the_limit_of_an_address(stage: Stage) -> None:
    told = await asyncio.gather(*(stage.ask() for _ in range(20)))
    assert told.count(Fate.REQUESTED) <= 3
    later = [await stage.ask() for _ in range(5)]
    assert (*told, *later).count(Fate.REQUESTED) == 3
    stage.clock.time += DAY
    assert await stage.ask() is Fate.REQUESTED


async def test_a_full_outbox_takes_no_more(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opt_in, "MOST_WAITING", 2)
    asked = [await stage.ask(Node(NodeKind.EMAIL, f"{n}@example.com")) for n in range(3)]
    assert asked == [Fate.REQUESTED, Fate.REQUESTED, Fate.FULL]


async def test_a_topic_that_is_gone_is_not_granted(stage: Stage) -> None:
    await stage.ask()
    await stage.postman.round()
    await take_policy(stage.world, Policy("shop", categories=POLICY.categories))
    assert await stage.confirm(stage.tokens()[0]) is Link.ENDED
    assert stage.types().count("choice") == 0


async def test_a_link_that_was_asked_for_waits_an_hour(stage: Stage) -> None:
    await stage.ask()
    await stage.postman.round()
    stage.hands.answers = [Sent(MailFate.LATER)] * 99
    stage.hands.letters.clear()
    assert await opt_in.ask_for_link(stage.world, ANN, "en", stage.clock.now(), 9) is Fate.REQUESTED
    for _ in range(5):
        await stage.postman.round()
        stage.clock.time += HOUR // 2
    assert 1 <= len(stage.hands.letters) <= 3
    assert stage.store.outbox.waiting() == 0
    unknown = Node(NodeKind.EMAIL, "nobody@example.com")
    now = stage.clock.now()
    assert await opt_in.ask_for_link(stage.world, unknown, "en", now, 9) is Fate.UNKNOWN
