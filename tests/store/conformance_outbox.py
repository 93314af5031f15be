"""What ``Store.outbox`` means. Every adapter passes this suite, as part of the store's."""

from __future__ import annotations

import pytest

from consentry.core.moment import DAY, SECOND
from consentry.outbox import Mail, OptIn, Token
from consentry.ports import Commit, Store, StoreConflict
from tests.store.makers import NOW, email, mail, opt_in, record, reply

MAIL, OTHER = email("ann@shop.example"), email("ben@shop.example")


async def put(store: Store, *mails: Mail, opt_ins: tuple[OptIn, ...] = ()) -> None:
    await store.commit(Commit(mails=mails, opt_ins=opt_ins))


def due(store: Store, at: int = NOW, limit: int = 10) -> list[str]:
    return [one.mail_id for one in store.outbox.mails_due(at, limit)]


class OutboxConformance:
    """Derive from it, and every test below runs against the adapter's ``store``."""

    async def test_an_empty_outbox_owes_nothing(self, store: Store) -> None:
        box = store.outbox
        assert (box.waiting(), box.mails_to(MAIL, 0)) == (0, 0)
        assert box.opt_in("o1") is box.opt_in_for(b"d") is None
        assert not list(box.mails_due(NOW, 10))
        assert not list(box.opt_ins_ending(NOW, 10))

    async def test_a_mail_and_its_sign_up_come_back_as_given(self, store: Store) -> None:
        owed = mail("m1", MAIL, attempts=2, opt_in_id="o1")
        waiting = opt_in("o1", MAIL, evidence={"page": {"url": "/ä", "tags": [1, None]}})
        commit = Commit(records=(record("r1", MAIL),), mails=(owed,), opt_ins=(waiting,))
        await store.commit(commit)
        assert list(store.outbox.mails_due(NOW, 10)) == [owed]
        assert store.outbox.opt_in("o1") == waiting
        assert store.outbox.waiting() == 1

    async def test_what_conflicts_owes_no_mail(self, store: Store) -> None:
        await store.commit(Commit(replies=(reply("k"),)))
        with pytest.raises(StoreConflict):
            await store.commit(
                Commit(
                    replies=(reply("k"),), mails=(mail("m1", MAIL),), opt_ins=(opt_in("o1", MAIL),)
                )
            )
        assert due(store) == []
        assert store.outbox.opt_in("o1") is None
        assert store.outbox.mails_to(MAIL, 0) == 0

    async def test_mails_are_due_in_the_order_of_their_time(self, store: Store) -> None:
        await put(store, mail("b", MAIL, next_at=NOW), mail("a", MAIL, next_at=NOW - SECOND))
        await put(store, mail("c", MAIL, next_at=NOW + 1), mail("d", MAIL, next_at=NOW))
        assert due(store) == ["a", "b", "d"]
        assert due(store, limit=2) == ["a", "b"]
        assert due(store, NOW + 1) == ["a", "b", "d", "c"]
        assert store.outbox.waiting() == 4

    async def test_a_mail_that_was_tried_waits_longer(self, store: Store) -> None:
        owed = mail("m1", MAIL)
        await put(store, owed)
        later = mail("m1", MAIL, attempts=1, next_at=NOW + SECOND)
        await store.outbox.put_mail(later)
        assert due(store) == []
        assert list(store.outbox.mails_due(NOW + SECOND, 10)) == [later]

    async def test_a_settled_mail_stays_settled(self, store: Store) -> None:
        await put(store, mail("m1", MAIL), mail("m2", MAIL))
        await store.outbox.settle_mail("m1")
        await store.outbox.settle_mail("m1")
        await store.outbox.put_mail(mail("m1", MAIL, attempts=1))
        assert due(store) == ["m2"]
        assert store.outbox.waiting() == 1

    async def test_mails_are_counted_for_their_address_also_when_settled(
        self, store: Store
    ) -> None:
        await put(store, mail("m1", MAIL, queued_at=NOW - DAY), mail("m2", MAIL, queued_at=NOW))
        await put(store, mail("m3", OTHER))
        await store.outbox.settle_mail("m2")
        assert store.outbox.mails_to(MAIL, NOW - DAY) == 2
        assert store.outbox.mails_to(MAIL, NOW - DAY + 1) == 1
        assert store.outbox.mails_to(OTHER, 0) == 1

    async def test_a_link_is_recognised_after_its_sign_up_has_ended(self, store: Store) -> None:
        await put(store, mail("m1", MAIL, opt_in_id="o1"), opt_ins=(opt_in("o1", MAIL),))
        for digest in (b"first", b"second"):
            token = Token(digest, "o1", NOW + DAY)
            await store.outbox.put_mail(mail("m1", MAIL, opt_in_id="o1"), token)
        await store.outbox.end_opt_in("o1")
        assert store.outbox.opt_in("o1") is None
        assert store.outbox.opt_in_for(b"first") == store.outbox.opt_in_for(b"second") == "o1"
        assert store.outbox.opt_in_for(b"third") is None

    async def test_sign_ups_end_when_their_time_is_over(self, store: Store) -> None:
        ends = {"o1": NOW + 2, "o2": NOW, "o3": NOW + 1}
        for name, at in ends.items():
            await put(store, opt_ins=(opt_in(name, MAIL, ends_at=at),))
        by = store.outbox.opt_ins_ending
        assert [one.opt_in_id for one in by(NOW + 1, 10)] == ["o2", "o3"]
        assert [one.opt_in_id for one in by(NOW + 2, 1)] == ["o2"]
        await store.outbox.end_opt_in("o2")
        await store.outbox.end_opt_in("o2")
        assert [one.opt_in_id for one in by(NOW + 2, 10)] == ["o3", "o1"]

    async def test_old_counts_and_links_are_forgotten_and_nothing_else(self, store: Store) -> None:
        old, new = NOW - DAY, NOW
        await put(
            store,
            mail("m1", MAIL, queued_at=old),
            mail("m2", MAIL, queued_at=new),
            opt_ins=(opt_in("o1", MAIL),),
        )
        await store.outbox.put_mail(mail("m1", MAIL, queued_at=old), Token(b"old", "o1", old))
        await store.outbox.put_mail(mail("m2", MAIL, queued_at=new), Token(b"new", "o1", new))
        await store.outbox.forget(new)
        assert store.outbox.mails_to(MAIL, 0) == 1
        assert (store.outbox.opt_in_for(b"old"), store.outbox.opt_in_for(b"new")) == (None, "o1")
        assert store.outbox.waiting() == 2
        assert store.outbox.opt_in("o1") is not None
