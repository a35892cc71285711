"""Schemathesis, told nothing but the address of /openapi.json: no answer to it is a fault of ours.

The exchange itself answers 500 `null` to what it does not know: that is passed on, with where it came from.
"""

import asyncio
import logging
from collections import Counter
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import content_type_conformance, status_code_conformance

from server.devnode import Devnode, Limits
from tests.sockets.conftest import start

EXAMPLES = 150
"""Of `/info`; of the others a third."""


def fuzz(url: str) -> Counter[str]:
    """Ask for all that is described, rightly and wrongly. How often each path was asked, and each status."""
    schema = schemathesis.openapi.from_url(f"{url}/openapi.json")
    schema.validate()
    seen: Counter[str] = Counter()

    def ask(case: schemathesis.Case) -> None:
        response = case.call(base_url=url, timeout=30)
        case.validate_response(response, checks=[status_code_conformance, content_type_conformance])
        seen.update((case.operation.path, str(response.status_code)))
        if response.status_code == 500:
            assert response.content == b"null", case
            assert response.headers["x-replica-source"][0] in ("upstream", "coalesced", "memory")

    for result in schema.get_all_operations():
        operation = result.ok()
        most = EXAMPLES if operation.path == "/info" else EXAMPLES // 3
        fuzzed = settings(
            max_examples=most if operation.method == "post" else 1,
            derandomize=True,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        for mode in GenerationMode if operation.method == "post" else (GenerationMode.POSITIVE,):
            fuzzed(given(case=operation.as_strategy(generation_mode=mode))(ask))()
    return seen


async def test_no_answer_is_a_fault_of_ours(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.ERROR)
    node = Devnode(accounts=2, seed=3, limits=Limits.off())
    options: dict[str, Any] = {"batch_deadline_s": 2}
    async with start(node, **options) as stack:
        seen = await asyncio.to_thread(fuzz, stack.base_url)
    assert seen["/info"] >= EXAMPLES
    assert min(seen["200"], seen["422"]) >= EXAMPLES // 2, seen
    assert [record for record in caplog.records if record.name.startswith("server")] == []
