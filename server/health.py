"""GET /health (the process is up), /ready (its answers are worth having, or why not), /capabilities,
/openapi.json."""

from collections.abc import Mapping
from dataclasses import asdict

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from replica import Phase, Replica
from server.exchange import Exchange
from server.info import Info
from server.ws.endpoint import Endpoint


def routes(
    replica: Replica, endpoint: Endpoint, info: Info, exchange: Exchange, described: Mapping[str, object]
) -> list[Route]:
    """The endpoints beside those that clients trade on; `described` is /openapi.json."""

    async def health(request: Request) -> Response:
        return _json(200, {"status": "up"})

    async def ready(request: Request) -> Response:
        readiness = replica.assess()
        return _json(200 if readiness.phase is Phase.READY else 503, report(replica, endpoint, exchange))

    async def capabilities(request: Request) -> Response:
        return _json(200, info.documents.report(info.denied))

    async def openapi(request: Request) -> Response:
        return _json(200, described)

    return [
        Route("/health", health),
        Route("/ready", ready),
        Route("/capabilities", capabilities),
        Route("/openapi.json", openapi),
    ]


def report(replica: Replica, endpoint: Endpoint, exchange: Exchange) -> dict[str, object]:
    """What /ready says beside its status: the reasons against, and the numbers behind them."""
    readiness, feed, store = replica.readiness, replica.feed, replica.store
    counts = feed.counts
    return {
        "status": readiness.phase.value,
        "reasons": readiness.reasons,
        "generation": readiness.generation,
        "accounts": {
            "tracked": len(replica.plan.live) + len(replica.plan.waiting),
            "followed": store.followed_count,
            "waiting_for_room": replica.waiting_for_room,
            "states": len(store),
            "version": store.version,
        },
        "feed": {
            "connected": feed.connected,
            "sockets": feed.sockets,
            "connections": counts.connections,
            "held": feed.held,
            "frames": counts.frames,
            "states": counts.states,
            "pushed": counts.pushed,
            "unknown": counts.unknown,
            "unknown_channels": dict(counts.unknown_channels),
            "unreadable": counts.unreadable,
            "errors": counts.errors,
            "last_error": counts.last_error,
            "refused": counts.refused,
            "resubscribed": counts.resubscribed,
            "pings": counts.pings,
            "passed_over": store.passed_over,
            "faults": counts.faults,
        },
        "streams": asdict(replica.mirror.counts),
        "documents": {
            "held": len(replica.documents),
            "bytes": replica.documents.size,
            "refusals": len(replica.refusals),
        },
        "clients": endpoint.report(),
        "writes": {
            "forwarded": exchange.forwarded,
            "refused": exchange.refused,
            "outcome_unknown": exchange.unknown,
        },
        "upstream": {"refusals_429": replica.weight.refusals},
    }


def _json(status: int, value: object) -> Response:
    return Response(orjson.dumps(value), status, media_type="application/json")
