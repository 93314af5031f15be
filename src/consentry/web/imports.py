"""Imports: choices that were made elsewhere, brought in by the operator."""

from __future__ import annotations

import hashlib

from starlette.requests import Request

from consentry.core.event import made_at
from consentry.flow.once import KeyReused, Once
from consentry.flow.person import is_erased
from consentry.flow.record_choice import Answered, answer_of, record_choice
from consentry.flow.records import Said
from consentry.ledger.entry import RecordType
from consentry.ports import StoreUnavailable
from consentry.web import bodies
from consentry.web.arriving import read_body
from consentry.web.call import Reply
from consentry.web.consent import moment_of, tell_choice, unavailable
from consentry.web.evidence import said_of
from consentry.web.problems import Problem, json_response
from consentry.web.site import ADMIN, Site

LARGEST_BULK = 4 * 1024 * 1024


async def post_imports(site: Site, request: Request) -> Reply:
    """POST /v1/imports: choices that were made elsewhere, each taken or refused by itself."""
    site.require_admin(request)
    body = bodies.read_bytes(await read_body(request, LARGEST_BULK, site.room), bodies.Imports)
    recorded = repeated = withheld = 0
    rejected = []
    for index, raw in enumerate(body.choices):
        try:
            answered = await _import(site, bodies.convert(raw, bodies.Imported))
        except Problem as problem:
            rejected.append({"index": index, "code": problem.code, "message": problem.message})
            continue
        if answered is None:
            withheld += 1
            site.meters.erased.labels("import").inc()
            continue
        repeated += answered.again
        recorded += not answered.again
        tell_choice(site, answered, RecordType.IMPORT)
    counts = {"recorded": recorded, "repeated": repeated, "withheld": withheld}
    return json_response({**counts, "rejected": rejected})


async def _import(site: Site, one: bodies.Imported) -> Answered | None:
    """What was recorded; None where it names somebody who was erased."""
    if is_erased(site.world, one.subject.nodes()):
        return None
    now = site.world.clock.now()
    claimed = moment_of(one.timestamp, "timestamp")
    said = Said(
        subject=one.subject.nodes(),
        answer=answer_of(one.preferences, one.topics, bodies.refused(one.channels)),
        received_at=now,
        made_at=None if claimed is None else made_at(claimed, None, now),
        claimed_at=claimed,
        evidence={"action": "import", **said_of(one.evidence)},
    )
    digest = hashlib.sha256(repr(one).encode("utf-8", "surrogatepass")).digest()
    once = None if one.key is None else Once(f"import/{one.key}", digest)
    try:
        return await record_choice(site.world, said, ADMIN, once=once, type_=RecordType.IMPORT)
    except KeyReused:
        raise Problem(409, "key_reused", "this key came before with other content") from None
    except StoreUnavailable:
        raise unavailable() from None
