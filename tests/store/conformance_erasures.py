"""What ``Store.erasures`` means. Every adapter passes this suite, as part of the store's."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from consentry.core import merkle
from consentry.core.delivery import Grade
from consentry.core.moment import SECOND
from consentry.core.order import OrderState, Verb
from consentry.core.record import Fact, FactKind, Node
from consentry.erasures import Shredded
from consentry.ledger import checkpoint as checkpoints
from consentry.ledger.entry import Record, RecordType, leaf_of
from consentry.orders import Tried
from consentry.outbox import Token
from consentry.ports import Commit, Progress, Store
from tests.store.makers import (
    KEY,
    NOW,
    WORKSPACE,
    account,
    attempt,
    choice,
    delivery,
    device,
    email,
    event,
    full_record,
    link,
    mail,
    merge,
    opt_in,
    order,
    record,
    reply,
    word,
)

ADA, BOB, OLD = account("ada"), account("bob"), account("ada-before")
OWN, SHARED, MAIL = device("own device"), device("family tablet"), email("ada@shop.example")
PERSON = (ADA, OLD, OWN, MAIL)
LATER = NOW + SECOND


def erasure(record_id: str, *nodes: Node, at: int = NOW) -> Record:
    """A record that erases: a suppression of each."""
    facts = tuple((node, Fact(FactKind.SUPPRESS, record_id, at)) for node in nodes)
    more = {"type": RecordType.ERASE, "received_at": at, "evidence": {"reason": "asked"}}
    return record(record_id, *nodes[:1], facts=facts, **more)


async def life(store: Store) -> None:
    """Ada's, and what of Bob's touches it."""
    kept = reply("key of ada", b'{"recordId":"r0"}')
    await store.commit(
        Commit(
            records=(
                choice("r0", ADA, OWN, granted="ads"),
                link("r1", (OWN, ADA), (ADA, MAIL)),
                merge("r2", "ada-before", "ada"),
                choice("r3", ADA, SHARED, denied="ads"),
                link("r4", (SHARED, ADA), (SHARED, BOB)),
                word("r5", FactKind.SUPPRESS, NOW - 1, OLD),
                choice("r6", BOB, granted="ads"),
            ),
            events=(
                event("m0", nodes=(OWN, ADA), body=b'{"userId":"ada"}'),
                event("m1", nodes=(SHARED, BOB), body=b'{"userId":"bob"}'),
                event("m2", nodes=(MAIL, BOB), body=b'{"userId":"bob"}'),
                event("m3", nodes=(SHARED, ADA), body=b'{"userId":"ada"}'),
            ),
            replies=(kept, reply("key of bob", b'{"recordId":"r6"}')),
            mails=(mail("l0", MAIL), mail("l1", email("bob@shop.example"))),
            opt_ins=(opt_in("p0", MAIL), opt_in("p1", email("bob@shop.example"))),
        )
    )
    await store.outbox.put_mail(mail("l0", MAIL), Token(b"digest", "p0", LATER))
    rows = (delivery("ads", 0), delivery("ads", 1), delivery("ads", 3, "dead"))
    progress = Progress(destination="ads", position=4, attempts=(attempt(0),), put=rows)
    await store.record_progress(progress)


async def shredded(store: Store, erasure_id: str = "gone") -> Shredded:
    """The sum of all parts."""
    total = Shredded()
    while True:
        part = await store.erasures.shred(erasure_id, LATER)
        total = Shredded(part.done, *map(sum, zip(total[1:], part[1:], strict=True)))
        if part.done or part.waits:
            return total


def text_of(store: Store) -> str:
    """All that can be read without naming anybody."""
    parts: list[object] = [entry.record for entry in store.ledger()]
    parts += [entry.leaf for entry in store.ledger()]
    parts += [one.event for one in store.events_from(0, 100)]
    parts += store.deliveries()
    parts += [store.attempts_at(position) for position in range(store.end)]
    parts += store.orders.find()
    parts += store.outbox.mails_due(LATER, 100)
    parts += store.outbox.opt_ins_ending(LATER * 2, 100)
    parts += [one for _, one in store.suppressions()]
    return repr(parts)


def is_silent_about(store: Store, nodes: Iterable[Node]) -> bool:
    """Whether nothing that is read names one of these."""
    text = text_of(store)
    return not any(f"'{node.value}'" in text or f'"{node.value}"' in text for node in nodes)


def assert_tree_holds(store: Store) -> None:
    """Every leaf gives the signed root; whatever is no mark gives its leaf."""
    entries = list(store.ledger())
    head = checkpoints.parse(store.checkpoint() or "", KEY.verify_key)
    assert head.root == merkle.root([merkle.leaf_hash(entry.leaf) for entry in entries])
    for entry in entries:
        if entry.record.erased_by is None:
            assert entry.leaf == leaf_of(entry.record, entry.seq, WORKSPACE)


class ErasuresConformance:
    """Derive from it, and every test below runs against the adapter's ``store``."""

    async def test_a_new_store_erases_nobody(self, store: Store) -> None:
        assert not list(store.erasures.unfinished())
        assert await store.erasures.shred("none", NOW) == Shredded(done=True)
        assert await store.erasures.finish("none")

    async def test_a_record_that_erases_begins_a_job(self, store: Store) -> None:
        await life(store)
        await store.commit(Commit(records=(erasure("gone", *PERSON), erasure("b", BOB))))
        found = store.erasures.unfinished()
        assert [(e.record_id, e.seq, e.asked_at, e.erased) for e in found] == [
            ("gone", 7, NOW, False),
            ("b", 8, NOW, False),
        ]
        assert await shredded(store)
        assert [e.erased for e in store.erasures.unfinished()] == [True, False]
        assert await store.erasures.finish("gone")
        assert [e.record_id for e in store.erasures.unfinished()] == ["b"]

    async def test_nothing_that_is_read_names_them(self, store: Store) -> None:
        await life(store)
        await store.commit(Commit(records=(erasure("gone", *PERSON),)))
        assert not is_silent_about(store, PERSON)
        total = await shredded(store)
        assert total == Shredded(True, 7, 2, 1, 2, 0, 0)
        text = text_of(store)
        assert "ada-before" not in text
        assert "own device" not in text
        # An event of Bob's that names her address is his.
        assert text.count("'ada@shop.example'") == 1
        assert "'ada'" not in text
        assert '"ada"' not in text
        assert_tree_holds(store)

    async def test_a_mark_holds_id_type_time_and_what_erased_it(self, store: Store) -> None:
        await life(store)
        await store.commit(Commit(records=(erasure("gone", *PERSON),)))
        leaves = [entry.leaf for entry in store.ledger()]
        await shredded(store)
        entries = list(store.ledger())
        assert [entry.leaf for entry in entries] == leaves
        for seq, kind in ((0, RecordType.CHOICE), (2, RecordType.ALIAS), (7, RecordType.ERASE)):
            made = entries[seq].record
            assert made == Record(
                record_id=made.record_id, type=kind, received_at=NOW, salt=b"", erased_by="gone"
            )
        assert store.record("r0") == entries[0]

    async def test_what_also_names_somebody_else_keeps_them(self, store: Store) -> None:
        await life(store)
        before = store.facts_of(SHARED), store.facts_of(BOB), store.merges_of("bob")
        await store.commit(Commit(records=(erasure("gone", *PERSON),)))
        await shredded(store)
        assert (store.facts_of(SHARED), store.facts_of(BOB), store.merges_of("bob")) == before
        assert set(store.links_of(SHARED)) == {BOB}
        assert set(store.links_of(BOB)) == {SHARED}
        said = store.record("r3")
        assert said is not None
        assert [node for node, _ in said.record.facts] == [SHARED]
        assert said.record.subject == (SHARED,)
        assert (said.record.salt, said.record.erased_by) == (b"", "gone")
        assert [e.record.record_id for e in store.records_of([BOB])] == ["r6", "r4"]
        untouched = store.record("r6")
        assert untouched is not None
        assert untouched.record.erased_by is None

    async def test_the_tombstone_stays(self, store: Store) -> None:
        await life(store)
        await store.commit(Commit(records=(erasure("gone", *PERSON),)))
        await shredded(store)
        for node in PERSON:
            assert store.knows(node)
            assert store.facts_of(node) == (Fact(FactKind.SUPPRESS, "gone", NOW),)
            assert store.links_of(node) == store.trusted_links_of(node) == ()
            assert [e.record.record_id for e in store.records_of([node])] == ["gone"]
        assert store.merges_of("ada") == ()
        listed = [(seq, one.node, one.record_id) for seq, one in store.suppressions()]
        assert listed == [(7, None, "gone")] * len(PERSON)

    async def test_events_keep_their_place_and_nothing_else(self, store: Store) -> None:
        await life(store)
        await store.commit(Commit(records=(erasure("gone", *PERSON),)))
        await shredded(store)
        events = [one.event for one in store.events_from(0, 10)]
        assert [one.erased for one in events] == [True, False, False, True]
        for gone in (events[0], events[3]):
            assert (gone.nodes, gone.body, gone.allowed, gone.message_id) == ((), b"{}", 0, "")
        assert store.event_at(0) == events[0]
        assert store.position_of("web", "m0") is store.position_of("web", "m3") is None
        assert store.position_of("web", "m1") == 1
        assert [row.position for row in store.deliveries()] == [1]
        kinds = [(name, one.grade, one.detail) for name, one in store.attempts_at(0)]
        assert kinds[-1] == ("ads", "withheld", "the person was erased")
        assert (await store.commit(Commit(events=(event("m9"),)))).positions == (4,)

    async def test_mails_sign_ups_and_kept_replies_go(self, store: Store) -> None:
        await life(store)
        await store.commit(Commit(records=(erasure("gone", *PERSON),)))
        await shredded(store)
        assert [one.mail_id for one in store.outbox.mails_due(LATER, 10)] == ["l1"]
        assert store.outbox.mails_to(MAIL, 0) == 0
        assert store.outbox.opt_in("p0") is store.outbox.opt_in_for(b"digest") is None
        assert store.outbox.opt_in("p1") is not None
        assert store.reply_to("key of ada") is None
        assert store.reply_to("key of bob") is not None

    async def test_what_was_said_after_it_stays(self, store: Store) -> None:
        await life(store)
        await store.commit(Commit(records=(erasure("gone", *PERSON),)))
        back = msgspec.structs.replace(link("again", (OWN, ADA)), received_at=LATER, trust="server")
        lifted = word("lifted", FactKind.UNSUPPRESS, LATER, ADA)
        late = event("late", nodes=(ADA,), received_at=LATER)
        await store.commit(Commit(records=(lifted, back), events=(late,)))
        await shredded(store)
        assert {fact.record_id for fact in store.facts_of(ADA)} == {"gone", "lifted"}
        assert set(store.links_of(ADA)) == set(store.trusted_links_of(ADA)) == {OWN}
        assert store.event_at(4) == late
        assert len(list(store.suppressions())) == len(PERSON) - 1

    async def test_what_was_received_before_and_written_after_it_goes(self, store: Store) -> None:
        await store.commit(Commit(records=(erasure("gone", ADA, at=LATER),)))
        late = choice("late", ADA, granted="ads")
        await store.commit(Commit(records=(late,), events=(event("m", nodes=(ADA,)),)))
        await shredded(store)
        assert is_silent_about(store, [ADA])
        assert store.facts_of(ADA) == (Fact(FactKind.SUPPRESS, "gone", LATER),)

    async def test_orders_that_have_ended_name_nobody(self, store: Store) -> None:
        done = {"state": OrderState.TERMINAL, "grade": Grade.CONFIRMED, "terminal_at": NOW}
        mine = order("o0", "r0", ADA, OWN, subject=(ADA,), read_at=LATER, **done)
        ours = order("o1", "r0", ADA, SHARED, BOB, subject=(SHARED, BOB), read_at=LATER, **done)
        await store.commit(Commit(records=(choice("r0", ADA),), orders=(mine, ours)))
        await store.commit(Commit(records=(erasure("gone", ADA, OWN),)))
        total = await shredded(store)
        assert (total.done, total.orders) == (True, 2)
        one, two = store.orders.order("o0"), store.orders.order("o1")
        assert one is not None
        assert two is not None
        assert (one.subject, one.nodes, one.named, one.read_at) == ((), (), (), None)
        assert (two.subject, two.nodes, two.named) == ((SHARED, BOB), (SHARED, BOB), (SHARED, BOB))
        assert two.read_at == LATER
        assert not list(store.orders.find(ADA))
        assert [o.order_id for o in store.orders.find(BOB)] == ["o1"]
        assert [o.order_id for o in store.orders.to_read(LATER)] == ["o1"]

    async def test_an_order_that_waits_is_waited_for(self, store: Store) -> None:
        await store.commit(Commit(records=(choice("r0", ADA),), orders=(order("o0", "r0", ADA),)))
        await store.commit(Commit(records=(erasure("gone", ADA),)))
        assert (await shredded(store))[::6] == (False, 1)
        known = store.orders.order("o0")
        assert known is not None
        assert known.named == (ADA,)
        ended = msgspec.structs.replace(known, state=OrderState.SUPERSEDED)
        await store.commit(Commit(tried=(Tried(ended),)))
        assert (await shredded(store)).done
        assert is_silent_about(store, [ADA])

    async def test_an_order_that_was_on_its_way_as_they_were_taken_out_names_them_never_again(
        self, store: Store
    ) -> None:
        """Whoever sends it has it as it was, and writes how it went."""
        sent = order("o0", "r0", ADA, OWN, BOB, subject=(ADA, BOB), next_at=NOW)
        await store.commit(Commit(records=(choice("r0", ADA),), orders=(sent,)))
        ended = msgspec.structs.replace(sent, state=OrderState.SUPERSEDED)
        await store.commit(Commit(tried=(Tried(ended),)))
        await store.commit(Commit(records=(erasure("gone", ADA, OWN),)))
        assert (await shredded(store)).done
        late = msgspec.structs.replace(ended, detail="no answer in time")
        await store.commit(Commit(tried=(Tried(late, attempt(0)),)))
        known = store.orders.order("o0")
        assert known is not None
        assert known.detail == "no answer in time"
        assert (known.subject, known.nodes, known.named) == ((BOB,), (BOB,), (BOB,))
        assert is_silent_about(store, [ADA, OWN])

    async def test_what_the_erasure_owes_names_them_until_it_has_ended(self, store: Store) -> None:
        made = {"erasure": True, "subject": (ADA,)}
        gate = {"verb": Verb.GATE, "state": OrderState.TERMINAL, "grade": Grade.GATED}
        orders = (
            order("o0", "gone", ADA, **made, **gate),
            order("o1", "gone", ADA, **made | {"verb": Verb.ERASE}),
        )
        await store.commit(Commit(records=(erasure("gone", ADA),), orders=orders))
        assert (await shredded(store)).done
        kept = {one.order_id: one for one in store.orders.of_record("gone")}
        assert (kept["o0"].subject, kept["o0"].nodes, kept["o0"].named) == ((), (), ())
        assert kept["o1"].named == (ADA,)
        assert [one.order_id for one in store.orders.find(ADA)] == ["o1", "o0"]

    async def test_erased_twice_is_erased(self, store: Store) -> None:
        await life(store)
        await store.commit(Commit(records=(erasure("first", *PERSON),)))
        await shredded(store, "first")
        await store.commit(Commit(records=(erasure("gone", ADA, at=LATER),)))
        assert (await shredded(store)).done
        assert store.facts_of(ADA) == (Fact(FactKind.SUPPRESS, "gone", LATER),)
        assert store.facts_of(MAIL) == (Fact(FactKind.SUPPRESS, "first", NOW),)
        assert_tree_holds(store)

    async def test_a_record_in_which_everything_is_said_goes_whole(self, store: Store) -> None:
        made = full_record("r0")
        await store.commit(Commit(records=(made,)))
        nodes = (account("ann"), account("anne"), made.subject[1])
        await store.commit(Commit(records=(erasure("gone", *nodes),)))
        await shredded(store)
        assert is_silent_about(store, nodes)
