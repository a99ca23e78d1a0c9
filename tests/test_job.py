"""intswitch/job.py: how a process group ends. (The rest: tests/test_torch*.)"""

from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("torch")

from intswitch.job import FAREWELL, Job


@pytest.mark.parametrize(
    ("dead", "awaited"), [((), "0 1 2 3"), ((1, 3), "0 2"), ((1, 2, 3), "0")]
)
def test_who_has_died_is_not_waited_for(dead: tuple[int, ...], awaited: str) -> None:
    log: list[Any] = []
    store = SimpleNamespace(
        set=lambda key, value: log.append(key),
        wait=lambda keys, timeout: log.append((keys, timeout)),
    )
    job = Job.__new__(Job)
    job.closed, job.key, job.rank, job.size, job.store = False, "job", 0, 4, store
    job.network = SimpleNamespace(  # type: ignore[assignment]
        dead=dead, close=lambda leave: log.append(f"left: {leave}")
    )
    job.switch = SimpleNamespace(  # type: ignore[assignment]
        close=lambda: log.append("switch closed")
    )
    job.close()
    job.close()
    keys = [f"job/left/{rank}" for rank in awaited.split()]
    assert log == ["left: True", "job/left/0", (keys, FAREWELL), "switch closed"]
