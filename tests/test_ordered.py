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


def test_callbacks_may_wait_for_what_others_ask_for() -> None:
    """Before, or while they wait."""
    line = Ordered("a line", told_nothing)
    ready, over = threading.Event(), threading.Event()
    found: list[Any] = []

    def ask_and_wait() -> None:
        found.append(line.submit(lambda: 2)[0].wait(SOON))
        found.append(line.submit(lambda: 3)[0].wait(SOON))
        over.set()

    def wait_for_another(_: Any) -> None:
        found.append(over.wait(SOON))

    _, told = line.submit(lambda: ready.wait(SOON))
    told.add_done_callback(wait_for_another)
    asks = threading.Thread(target=ask_and_wait)
    asks.start()
    ready.set()
    asks.join()
    line.close(abort=None)
    assert found == [2, 3, True]
    assert len(line._threads) < 6


def test_all_is_done_in_order_by_few_threads() -> None:
    line = Ordered("a line", told_nothing)
    done: list[int] = []
    for number in range(200):
        line.submit(lambda number=number: done.append(number))
    line.close(abort=None)
    assert done == list(range(200))
    assert len(line._threads) < 10
    assert not any(thread.is_alive() for thread in line._threads)


def test_it_goes_on_where_no_more_threads_can_be_had(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whoever waits for a future is told all the same."""
    line = Ordered("a line", told_nothing)

    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    told, over = [], threading.Event()
    for number in range(2):
        future = line.submit(lambda number=number: number)[1]
        future.add_done_callback(lambda each: told.append(each.value()))
    future.add_done_callback(lambda _: over.set())
    assert over.wait(SOON)
    line.close(abort=None)
    assert told == [0, 1]
    assert len(line._threads) == 1


def test_one_thing_is_done_at_a_time() -> None:
    """Also where several threads are ready."""
    line = Ordered("a line", told_nothing)
    busy, free, began = threading.Event(), threading.Event(), threading.Event()
    told = line.submit(lambda: None)[1]
    told.add_done_callback(lambda _: busy.set() or free.wait(SOON))
    assert busy.wait(SOON)
    other = line.submit(lambda: None)[0]  # by a second thread
    other.wait(SOON)
    free.set()
    first, _ = line.submit(lambda: began.wait(0.05))
    second, _ = line.submit(began.set)
    second.wait(SOON)
    assert not first.wait(0)
    line.close(abort=None)
    assert len(line._threads) > 1
