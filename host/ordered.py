"""Aggregations one after the other in threads of their own, in the order in which they
were asked for; torch's futures tell when, and how, they end."""

import atexit
import queue
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import torch
from torch.futures import Future

Work = Callable[[], Any]


class Outcome:
    """What a piece of work came to."""

    def __init__(self) -> None:
        self.value: Any = None
        self.error: BaseException | None = None
        self._over = threading.Event()

    def settle(self, work: Work) -> None:
        try:
            self.value = work()
        except BaseException as error:  # whoever waits raises it
            self.error = error
        self._over.set()

    def is_over(self) -> bool:
        return self._over.is_set()

    def wait(self, timeout: float | None = None) -> Any:
        """The value. Raises what the work raised, or TimeoutError after so many
        seconds."""
        if not self._over.wait(timeout):
            raise TimeoutError(f"an aggregation has not ended within {timeout} s")
        if self.error is not None:
            raise self.error
        return self.value


class Ordered:
    """A queue, and threads that take turns in working it off.

    Who has done something tells of it while the next thread has the turn: a future's
    callback may wait for what is yet to be done, whoever asked for it.
    """

    def __init__(self, name: str, abort: Callable[[str], None]) -> None:
        """abort: called from another thread, ends what a thread waits for."""
        self._abort = abort
        self._queue: queue.SimpleQueue[tuple[Work, Outcome, Any] | None] = (
            queue.SimpleQueue()
        )
        self._closed = False
        self._door = threading.Lock()
        """Held while something is queued: the end comes behind everything. And of
        `_ready`."""
        self._turn = threading.Lock()
        """Held from when something is taken out of the queue until it is done."""
        self._name = name
        self._threads: list[threading.Thread] = []
        self._ready = 0
        """Threads that wait for their turn, or have it and wait for work."""
        self._start()
        atexit.register(self.close)  # before the interpreter takes threads down

    def submit(self, work: Work) -> tuple[Outcome, Any]:
        """Queue it. Returns what it will come to, and the same as a torch Future.

        Raises RuntimeError once this is closed.
        """
        outcome, told = Outcome(), Future()  # type: ignore[var-annotated]
        with self._door:
            if self._closed:
                raise RuntimeError(f"{self._name} is closed")
            self._queue.put((work, outcome, told))
        # set_exception would crash DDP's reducer (torch 2.13): a callback that raises
        # makes a future that fails as it should
        return outcome, told.then(lambda _: outcome.wait())

    def close(self, abort: str | None = "it is being closed") -> None:
        """End the threads. abort: why what is queued fails; None: it is done first.
        Safe to call twice."""
        with self._door:
            if self._closed:
                return
            self._closed = True
            self._queue.put(None)
        atexit.unregister(self.close)
        if abort is not None:
            self._abort(abort)
        for thread in self._threads:  # one that ends may start one more before
            if thread is not threading.current_thread():  # a callback ends it
                thread.join()

    def _start(self) -> None:
        """Raises RuntimeError where there may be no more threads."""
        thread = threading.Thread(target=self._run, name=self._name, daemon=True)
        thread.start()
        self._threads.append(thread)
        self._ready += 1

    def _run(self) -> None:
        with torch.no_grad():
            while self._do_next():
                pass

    def _do_next(self) -> bool:
        """Whether there may be more to come."""
        with self._turn:
            entry = self._queue.get()
            if entry is None:
                self._queue.put(None)  # for the others
                return False
            work, outcome, told = entry
            outcome.settle(work)
            with self._door:
                self._ready -= 1
                if self._ready == 0:
                    with suppress(RuntimeError):  # then nobody goes on meanwhile
                        self._start()
        told.set_result(None)
        with self._door:
            self._ready += 1
        return True
