"""Aggregations one after the other in a thread of their own, in the order in which they
were asked for; torch's futures tell when, and how, they end."""

import atexit
import queue
import threading
from collections.abc import Callable
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
    """A queue and the thread that works it off."""

    def __init__(self, name: str, abort: Callable[[str], None]) -> None:
        """abort: called from another thread, ends what the thread waits for."""
        self._abort = abort
        self._queue: queue.SimpleQueue[tuple[Work, Outcome, Any] | None] = (
            queue.SimpleQueue()
        )
        self._closed = False
        self._door = threading.Lock()
        """Held while something is queued: the end comes behind everything."""
        self._name = name
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
            if threading.current_thread() is self._thread:
                # a future's callback asks for more, and may wait for it: see _run
                self._start()
            self._queue.put((work, outcome, told))
        # set_exception would crash DDP's reducer (torch 2.13): a callback that raises
        # makes a future that fails as it should
        return outcome, told.then(lambda _: outcome.wait())

    def close(self, abort: str | None = "it is being closed") -> None:
        """End the thread. abort: why what is queued fails; None: it is done first. Safe
        to call twice."""
        with self._door:
            if self._closed:
                return
            self._closed = True
            if threading.current_thread() is self._thread:
                self._start()  # a callback ends it: what is queued is done all the same
            self._queue.put(None)
        atexit.unregister(self.close)
        if abort is not None:
            self._abort(abort)
        self._thread.join()

    def _start(self) -> None:
        self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        """Until the end, or until another thread has taken over: this one is in a
        callback then, and what that waits for needs somebody to do it."""
        own = threading.current_thread()
        with torch.no_grad():
            while self._thread is own and (entry := self._queue.get()) is not None:
                work, outcome, told = entry
                outcome.settle(work)
                told.set_result(None)
                del work, outcome, told, entry  # and the tensors that they keep
