"""Operations: alive, ready, counted, described."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from consentry.core.delivery import State
from consentry.core.record import Node, NodeKind
from consentry.flow import describe
from consentry.flow.records import workspace_node
from consentry.ports import StoreError
from consentry.web import propagation
from consentry.web.admin import oldest_s
from consentry.web.call import Answer
from consentry.web.problems import json_response
from consentry.web.site import Site


async def healthz(site: Site, request: Request) -> Answer:
    """GET /healthz: the process answers."""
    return json_response({"status": "ok"})


async def readyz(site: Site, request: Request) -> Answer:
    """GET /readyz: whether consent can be read and written; otherwise nothing is sent."""
    ready = enforcing(site)
    return json_response({"ready": ready, "enforcing": ready}, 200 if ready else 503)


def enforcing(site: Site) -> bool:
    """Whether the consent state is readable and the last write succeeded."""
    try:
        site.world.store.facts_of(Node(NodeKind.DEVICE, "readyz"))
    except StoreError:
        return False
    return site.world.store.available


async def metrics(site: Site, request: Request) -> Answer:
    """GET /metrics: Prometheus text. Names of destinations and sources, nothing of people."""
    meters = site.meters
    meters.enforcing.set(enforcing(site))
    file = site.places.file
    meters.addresses.set(file is not None and file.broken is None)
    for name in site.world.policy.mapping:
        meters.dead.labels(name).set(site.world.store.count_rows(name, State.DEAD))
    for name, worker in site.crew.workers.items():
        meters.lag.labels(name).set(site.world.store.end - worker.lane.position)
        meters.oldest.labels(name).set(oldest_s(site, name))
        meters.waiting.labels(name).set(worker.lane.held)
        meters.paused.labels(name).set(worker.paused is not None)
        meters.stuck.labels(name).set(worker.stuck is not None)
    for row in propagation.status(site):
        meters.orders.open.labels(row["name"]).set(row["open"])
        meters.orders.overdue.labels(row["name"]).set(row["overdue"])
        meters.orders.drift.labels(row["name"]).set(row["drift"])
        meters.orders.oldest.labels(row["name"]).set(row["oldestSeconds"])
    return Response(meters.exposition(), media_type="text/plain; version=0.0.4")


async def gpc(site: Site, request: Request) -> Answer:
    """GET /.well-known/gpc.json: this site honours Global Privacy Control (w3c/gpc)."""
    covers = any(c.gpc and not c.essential for c in site.world.policy.categories)
    body: dict[str, object] = {"gpc": covers}
    # What is honoured follows from the configuration, so it changed when that did.
    changed = site.world.store.records_of([workspace_node(site.world.policy)], limit=1)
    if changed:
        body["lastUpdate"] = describe.time(changed[0].record.received_at)
    return json_response(body, headers={"Cache-Control": "public, max-age=3600"})
