"""host/ordered.py: how a queue of aggregations ends. (The rest: tests/torch_*.)"""

import threading
from typing import Any

import pytest

pytest.importorskip("torch")

from host import ordered
from host.ordered import Ordered, Outcome

SOON = 5.0


def told_nothing(reason: str) -> None:
    pass


def test_what_is_asked_for_while_it_ends_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Behind the end of the queue nobody would ever do it."""
    line = Ordered("a line", told_nothing)

    def slowly() -> Outcome:
        line.close()
        return Outcome()

    monkeypatch.setattr(ordered, "Outcome", slowly)
    with pytest.raises(RuntimeError, match="a line is closed"):
        line.submit(lambda: 1)


def test_a_callback_may_end_it() -> None:
    """What had been asked for before is done all the same."""
    line = Ordered("a line", told_nothing)
    ready, over = threading.Event(), threading.Event()
    found: list[Any] = []

    def end(_: Any) -> None:
        try:
            found.append(line.close(abort=None))
            found.append(last.wait(0))
        except BaseException as error:
            found.append(error)
        over.set()

    _, told = line.submit(lambda: ready.wait(SOON))
    told.add_done_callback(end)
    last, _ = line.submit(lambda: 7)
    ready.set()
    assert over.wait(SOON)
    assert found == [None, 7]
