"""A server and a target for the agent's tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from agent_runs import Target, target
from s3_server import S3Server, needs, s3_server

__all__ = ["s3_server"]


@pytest.fixture
def targets(s3_server: S3Server, tmp_path: Path) -> Iterator[Callable[..., Target]]:
    """Returns targets: targets(nodes=2)."""
    needs("s5cmd")
    with ExitStack() as stack:
        count = iter(range(100))

        def make(nodes: int = 1, server: S3Server = s3_server) -> Target:
            return stack.enter_context(target(tmp_path / f"target-{next(count)}", server, nodes))

        yield make


@pytest.fixture
def one(targets: Callable[..., Target]) -> Target:
    """A target of one node."""
    return targets()
