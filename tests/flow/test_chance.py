"""The system's random bytes, drawn a page at a time."""

from __future__ import annotations

from consentry.flow.world import Chance, new_id, new_salt


def test_nothing_is_given_twice_within_a_page_or_across_pages() -> None:
    chance = Chance()
    given = [chance.take(16) for _ in range(3 * Chance.DRAWN // 16)]
    assert {len(one) for one in given} == {16}
    assert len(set(given)) == len(given)


def test_what_a_page_has_no_more_room_for_comes_whole_from_the_next() -> None:
    chance = Chance()
    sizes = [Chance.DRAWN - 1, 32, Chance.DRAWN]
    assert [len(chance.take(size)) for size in sizes] == sizes


def test_two_draws_share_no_page() -> None:
    assert Chance().take(32) != Chance().take(32)


def test_an_id_has_eighty_bits_of_chance_and_a_salt_256() -> None:
    made = {new_id("rec")[len("rec_") + 12 :] for _ in range(1000)}
    assert len(made) == 1000
    assert {len(one) for one in made} == {20}
    assert len(new_salt()) == 32
