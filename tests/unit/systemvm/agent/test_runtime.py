"""Recovery beside the listener: tried again until it works or mgmt takes over."""

from typing import Any

import pytest

from systemvm.agent.runtime import RETRIES, recover
from systemvm.engine.errors import Busy

pytestmark = pytest.mark.unit


class Scripted:
    """An engine whose recoveries end as told: an exception, or whether it is still dirty."""

    def __init__(self, *ends: Any) -> None:
        self.ends = list(ends)
        self.is_dirty = True

    def recover(self) -> None:
        end = self.ends.pop(0)
        if isinstance(end, Exception):
            raise end
        self.is_dirty = end


@pytest.mark.parametrize(
    ("ends", "pauses"),
    [
        ([False], []),
        ([True, False], [2.0]),
        ([OSError("read-only file system"), False], [2.0]),
        ([True, Busy("generation 8 is being applied")], [2.0]),
        ([True] * 6, list(RETRIES)),
    ],
)
def test_recover(ends: list[Any], pauses: list[float]) -> None:
    engine = Scripted(*ends)
    slept: list[float] = []
    recover(engine, slept.append)  # type: ignore[arg-type]
    assert slept == pauses
    assert engine.ends == []
