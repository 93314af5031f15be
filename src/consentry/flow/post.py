"""The story of one mail: still owed, begun durably, handed over, settled.

A try is on disk before it is made, so a mail is tried at most so often, whatever dies. A process
that dies between handing over and settling sends that one again: it has the same Message-ID.
The link is made for the try and is nowhere else, so every mail that arrives has one that works.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from consentry.core.delivery import Backoff
from consentry.core.moment import DAY, SECOND, Moment
from consentry.core.record import NodeKind
from consentry.flow.links import LinkType, confirmation, digest_of
from consentry.flow.office import Office, fill
from consentry.flow.world import World
from consentry.mail import Fate, Letter, Sent
from consentry.outbox import Mail, OptIn, Token

MOST_TRIES = 10
BACKOFF = Backoff(first_s=30.0, longest_s=3600.0)
LINK_OWED_FOR = DAY // 24  # whoever asked for a link does not wait longer than an hour


async def deliver_mail(world: World, office: Office, mail: Mail, chance: float) -> Sent:
    """One try at one mail. ``chance`` in [0, 1) spreads retries. Raises StoreError."""
    now = world.clock.now()
    owed, opt_in = _still_owed(world, mail, now)
    if not owed or mail.attempts >= MOST_TRIES:
        await world.store.outbox.settle_mail(mail.mail_id)
        return Sent(Fate.NEVER, "given up" if owed else "no longer owed")
    tried = mail.attempts + 1
    next_at = now + int(BACKOFF.delay_s(tried, chance) * SECOND)
    begun = msgspec.structs.replace(mail, attempts=tried, next_at=next_at)
    if not office.reaches(mail.node.kind):
        await world.store.outbox.put_mail(begun)
        return Sent(Fate.LATER, "there is nobody to hand it to, or no link to put in it")
    try:
        letter, token = _write(world, office, mail, opt_in, now)
    except LookupError:
        await world.store.outbox.put_mail(begun)
        return Sent(Fate.LATER, "a text of it is missing")
    await world.store.outbox.put_mail(begun, token)
    sent = await office.senders[mail.node.kind].send(letter)
    if sent.fate is not Fate.LATER or tried >= MOST_TRIES:
        await world.store.outbox.settle_mail(mail.mail_id)
    return sent


def _still_owed(world: World, mail: Mail, now: Moment) -> tuple[bool, OptIn | None]:
    """Asked again before every try, as everything is that leaves."""
    if world.subjects.standing((mail.node,), world.policy, now).suppressed:
        return False, None
    if mail.kind == "edit":
        return now < mail.queued_at + LINK_OWED_FOR, None
    opt_in = world.store.outbox.opt_in(mail.opt_in_id or "")
    return opt_in is not None and now < opt_in.ends_at, opt_in


def _write(
    world: World, office: Office, mail: Mail, opt_in: OptIn | None, now: Moment
) -> tuple[Letter, Token | None]:
    """The letter with a fresh link, and what that link is recognised by."""
    texts = office.texts(mail.language)
    if opt_in is None:
        link = office.url(LinkType.EDIT, office.editing((mail.node,), now, alone=True))
        return _edit_letter(office, mail, texts, link), None
    secret = confirmation()
    link = office.confirmation_url(secret)
    token = Token(digest_of(secret), opt_in.opt_in_id, opt_in.ends_at)
    names = office.topic_names(world.policy, opt_in.keys, mail.language)
    if mail.node.kind is NodeKind.PHONE:
        text = fill(texts["sms.confirm.text"], site=office.site, topic=names, link=link)
        return Letter(mail.mail_id, mail.node.value, "", text), token
    hours = max(1, round((opt_in.ends_at - now) / (3600 * SECOND)))
    text = "\n\n".join(
        (
            fill(texts["mail.confirm.text"], site=office.site, topic=names),
            link,
            fill(texts["mail.confirm.expires"], hours=hours),
            texts["mail.confirm.ignore"],
        )
    )
    subject = fill(texts["mail.confirm.subject"], site=office.site, topic=names)
    # Whoever never asked can say no with one click, and that is on record.
    unsubscribe = office.url(LinkType.WITHDRAW, office.withdrawal((mail.node,), now, opt_in.keys))
    letter = Letter(mail.mail_id, mail.node.value, _line(subject), text + "\n", unsubscribe)
    return letter, token


def _edit_letter(office: Office, mail: Mail, texts: Mapping[str, str], link: str) -> Letter:
    minutes = office.pages.edit_minutes
    subject = fill(texts["mail.edit.subject"], site=office.site)
    text = "\n\n".join(
        (
            fill(texts["mail.edit.text"], site=office.site),
            link,
            fill(texts["mail.edit.expires"], minutes=minutes),
            texts["mail.edit.ignore"],
        )
    )
    return Letter(mail.mail_id, mail.node.value, _line(subject), text + "\n")


def _line(text: str) -> str:
    """As one line: a header ends at a line's end."""
    return " ".join(text.split())
