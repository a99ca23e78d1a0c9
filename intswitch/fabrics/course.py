"""How the training of one job goes, from what its processes say. Knows no clock."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Collection, Sequence
from typing import Any

from intswitch.child import Child
from intswitch.topology import JobPart

Event = dict[str, Any]
Listener = Callable[[int, Event], None]
"""Called with a worker's rank and what it reports."""

LAST_WORDS = 4.0
"""Seconds that the others have, after a failure, to say how they see it."""
MOMENT = 0.5
"""Seconds that a killed process may take to end: others notice before it has."""


class FabricError(RuntimeError):
    """Some process is gone, or has given up. The text names it."""


class Course:
    """One training of a job; other jobs' processes are none of its business.

    It begins at a moment, and is over when every worker has finished, or when it has
    failed and the last words are spoken. Times are those of `time.monotonic`.
    """

    def __init__(
        self,
        job: JobPart,
        workers: Sequence[Child],
        listener: Listener,
        begin: Callable[[Course], None],
    ) -> None:
        """workers: by rank. begin: called when `begins` has come."""
        self.job = job
        self.workers = workers
        self.listener = listener
        self.begin = begin
        self.begins = math.inf
        self.has_begun = self.is_warm = False
        self.finished: dict[int, Event] = {}
        self.words: dict[Child, str] = {}
        """What workers have complained of."""
        self.silent: list[Child] = []
        """Who has ended without a word."""
        self.deadline = math.inf
        """Of the last words."""
        self.error: FabricError | None = None

    @property
    def has_failed(self) -> bool:
        return bool(self.words or self.silent)

    @property
    def is_over(self) -> bool:
        return self.error is not None or len(self.finished) == len(self.workers)

    @property
    def outcome(self) -> list[Event] | FabricError:
        """Once it is over: the `finished` events, by rank, or why there are none."""
        if self.error is not None:
            return self.error
        return [self.finished[rank] for rank in range(len(self.workers))]

    @property
    def next_moment(self) -> float:
        """When it begins, or gives up; infinity: it waits for its processes alone."""
        if self.is_over:
            return math.inf
        return self.deadline if self.has_failed else self.begins

    def take(self, child: Child, line: str | None, now: float) -> None:
        """What a worker, or a process that all jobs need, says. None: it has ended."""
        event = json.loads(line) if line is not None and child in self.workers else {}
        if self.is_over or (line is not None and not event):
            return
        if line is None and child not in self.words and child not in self.silent:
            self.silent.append(child)
        elif event.get("event") == "error":
            self.words[child] = event["message"]
        elif event and not self.has_failed:
            self._hear(self.workers.index(child), event)
        if self.has_failed:
            self._await_last_words(now)

    def _hear(self, rank: int, event: Event) -> None:
        self.listener(rank, event)
        self.is_warm |= event["event"] == "warm"
        if event["event"] == "finished":
            self.finished[rank] = event

    def _await_last_words(self, now: float) -> None:
        heard = {*self.words, *self.silent}
        patience = LAST_WORDS if self.has_begun else MOMENT
        if heard.issuperset(self.workers):
            # whoever is the cause may not have been read to the end yet
            patience = 0.0 if self.silent else MOMENT
        self.deadline = min(self.deadline, now + patience)

    def proceed(self, now: float, others: Collection[Child]) -> None:
        """Begin, or give up, if it is time. others: processes that all jobs need."""
        if now < self.next_moment or self.is_over:
            return
        if not self.has_failed:
            self.begins, self.has_begun = math.inf, True
            self.begin(self)
            return
        self.error = FabricError(self._causes(others))
        for worker in self.workers:  # other jobs need what it would take
            worker.terminate()

    def _causes(self, others: Collection[Child]) -> str:
        """Who is gone and why.

        Who has ended without a word is the cause; who complains, a consequence.
        """
        mute = [each for each in (*others, *self.workers) if each not in self.words]
        self.silent += [
            each for each in mute if each not in self.silent and each.has_ended()
        ]
        gone = [f"{child.name} {child.ending()}{tail(child)}" for child in self.silent]
        said = [f"{child.name}: {text}" for child, text in self.words.items()]
        return "\n".join([*gone, *said])


def tail(child: Child) -> str:
    """The end of what a process that ended without a report has printed."""
    text = child.errors()
    return f": {text[-2000:]}" if text else ""
