"""What lies in a database is read by later versions."""

from __future__ import annotations

import msgspec

from consentry.store.codec import decode_events
from tests.store.makers import event


def test_an_event_that_was_stored_before_there_were_places_is_of_none() -> None:
    now = event("m1", place="US-CA", age=15, data=("precise_location",))
    before = msgspec.msgpack.decode(msgspec.msgpack.encode(now))[:16]
    [read] = decode_events(msgspec.msgpack.encode([before]))
    assert (read.message_id, read.place, read.age, read.data) == ("m1", None, None, ())
    assert read == msgspec.structs.replace(now, place=None, age=None, data=())
