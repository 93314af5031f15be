"""What ``Store.leaks`` means. Every adapter passes this suite, as part of the store's."""

from __future__ import annotations

from consentry.core.leak import OTHER, Leak, Via
from consentry.core.moment import DAY
from consentry.leaks import MOST_KINDS, MOST_OF_A_HOST, LeakCount
from consentry.ports import Store
from tests.store.makers import NOW


def leak(host: str = "ads.example", page: str = "/", kind: str = "image", **more: object) -> Leak:
    return Leak(host, kind, page, **{"via": Via.CSP, "stopped": True, **more})  # type: ignore[arg-type]


class LeaksConformance:
    """Derive from it, and every test below runs against the adapter's ``store``."""

    async def test_nothing_was_told_yet(self, store: Store) -> None:
        assert list(store.leaks.since(0)) == []

    async def test_counts_add_up_and_keep_their_first_and_last_time(self, store: Store) -> None:
        one, two = leak(), leak(via=Via.GUARD)
        await store.leaks.count("web", {one: 2, two: 1}, 99, NOW)
        await store.leaks.count("web", {one: 3}, 99, NOW + DAY)
        await store.leaks.count("app", {one: 1}, 99, NOW)
        assert list(store.leaks.since(0)) == [
            LeakCount("web", one, 5, NOW, NOW + DAY),
            LeakCount("app", one, 1, NOW, NOW),
            LeakCount("web", two, 1, NOW, NOW),
        ]
        assert [row.times for row in store.leaks.since(NOW + 1)] == [5]

    async def test_each_difference_is_a_row_of_its_own(self, store: Store) -> None:
        kinds = [leak(), leak("b.example"), leak(page="/x"), leak(kind="script")]
        kinds += [leak(via=Via.GUARD), leak(stopped=False)]
        await store.leaks.count("web", dict.fromkeys(kinds, 1), 99, NOW)
        assert {row.leak for row in store.leaks.since(0)} == set(kinds)

    async def test_a_host_on_many_pages_is_counted_without_them(self, store: Store) -> None:
        pages = [leak(page=f"/{n}") for n in range(MOST_OF_A_HOST + 5)]
        await store.leaks.count("web", dict.fromkeys(pages, 1), 999, NOW)
        rows = {row.leak: row.times for row in store.leaks.since(0)}
        assert len(rows) == MOST_OF_A_HOST + 1
        assert rows[leak(page=OTHER)] == 5
        await store.leaks.count("web", {pages[0]: 1}, 999, NOW)
        assert {row.leak: row.times for row in store.leaks.since(0)}[pages[0]] == 2

    async def test_invented_kinds_are_counted_together(self, store: Store) -> None:
        kinds = [leak(kind=f"k{n}", page=f"/{n}") for n in range(MOST_OF_A_HOST + MOST_KINDS + 9)]
        await store.leaks.count("web", dict.fromkeys(kinds, 1), 999, NOW)
        rows = {row.leak: row.times for row in store.leaks.since(0)}
        assert len(rows) == MOST_OF_A_HOST + MOST_KINDS + 1
        assert rows[leak(OTHER, OTHER, OTHER)] == 9

    async def test_invented_hosts_are_counted_together_and_known_ones_find_room(
        self, store: Store
    ) -> None:
        hosts = [leak(f"h{n}.example") for n in range(30)]
        await store.leaks.count("web", dict.fromkeys(hosts, 1), 20, NOW)
        await store.leaks.count("web", {leak("known.example"): 1}, 25, NOW)
        rows = {row.leak: row.times for row in store.leaks.since(0)}
        assert len(rows) == 22
        assert rows[leak(OTHER, OTHER, OTHER)] == 10
        assert rows[leak("known.example")] == 1

    async def test_what_was_not_seen_for_long_is_forgotten(self, store: Store) -> None:
        await store.leaks.count("web", {leak(): 1, leak(page="/x"): 1}, 99, NOW)
        await store.leaks.count("web", {leak(): 1}, 99, NOW + DAY)
        await store.leaks.forget(NOW + 1)
        assert [row.leak for row in store.leaks.since(0)] == [leak()]
