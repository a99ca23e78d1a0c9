"""Replays scripts against a target, and says of each what came of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

from intswitch.conformance.difference import Difference, first_difference, hexed
from intswitch.conformance.script import (
    STRANGER,
    Count,
    Datagram,
    Packets,
    Script,
    Step,
)
from intswitch.conformance.target import Skip, Target, Unanswered, Violation
from switch.config import Address
from switch.protocol import DropReason

Result = Literal["pass", "fail", "timeout", "skipped"]

# every packet that arrives is counted in exactly one of them
ONCE = ("accepted", "replays", "statuses", *(r.name.lower() for r in DropReason))
PAUSE = 0.01  # seconds until a counter that is not right yet is read again


@dataclass(frozen=True)
class Outcome:
    """What came of one script."""

    script: str
    section: str
    """Of docs/protocol.md."""
    title: str
    result: Result
    sent: int = 0
    received: int = 0
    seconds: float = 0.0
    line: int | None = None
    """Of the script, where it ended; None: at its end, or before its first line."""
    statement: str = ""
    """What stands in that line."""
    reason: str = ""
    fields: list[str] = field(default_factory=list)
    """What differs, a field a line."""
    expected: str | None = None
    """The packet that was expected there, in base 16."""
    found: str | None = None
    """The packet that came instead."""
    unchecked: int = 0
    """`count` lines that were not looked at: the target does not tell its counters."""


class Failure(Exception):
    """The target does not do what the script says."""

    def __init__(self, reason: str, difference: Difference | None = None) -> None:
        super().__init__(reason)
        self.difference = difference


def run(
    scripts: Iterable[Script], target: Target, patience: float = 0.0
) -> Iterator[Outcome]:
    """The outcome of every script, as they come.

    A script ends with its first failure: what follows builds upon it. `patience`:
    seconds in which a counter may come to its value. Raises ConnectionError if the
    target is not there at all; if it goes away, what follows is skipped.
    """
    gone, last = "", ""
    for number, script in enumerate(scripts):
        replay = Replay(script, target, patience)
        try:
            outcome = replay.told("skipped", gone) if gone else replay.outcome()
        except ConnectionError as error:
            if number == 0:
                raise
            gone = f"the target is gone: {error}"
            # the script before may have said so already
            outcome = replay.told("skipped" if last == "timeout" else "timeout", gone)
        last = outcome.result
        yield outcome


class Replay:
    """One script against the target."""

    def __init__(self, script: Script, target: Target, patience: float) -> None:
        self.script = script
        self.target = target
        self.patience = patience
        self.began = time.perf_counter()
        self.begun = False
        self.sent = self.received = self.unchecked = 0
        self.line: int | None = None
        self.difference: Difference | None = None

    def outcome(self) -> Outcome:
        self.began = time.perf_counter()
        return self.told(*self.result())

    def told(self, result: Result, reason: str) -> Outcome:
        statement = (
            "" if self.line is None else self.script.lines[self.line - 1].strip()
        )
        difference = self.difference
        return Outcome(
            script=self.script.name,
            section=self.script.section,
            title=self.script.title,
            result=result,
            sent=self.sent,
            received=self.received,
            seconds=round(time.perf_counter() - self.began, 6),
            line=self.line,
            statement=statement,
            reason=reason,
            fields=difference.fields() if difference else [],
            expected=_hexed(difference.expected) if difference else None,
            found=_hexed(difference.received) if difference else None,
            unchecked=self.unchecked,
        )

    def result(self) -> tuple[Result, str]:
        try:
            self.target.configure(self.script.config)
            self.begun = True
            for step in self.script.steps:
                self.line = step.line
                self.take(step)
            self.line = None
            self.check_total()
        except Skip as skip:
            return "skipped", str(skip)
        except Failure as failure:
            self.difference = failure.difference
            return "fail", str(failure)
        except Violation as violation:
            return "fail", str(violation)
        except ConnectionError as error:
            if not self.begun:
                raise
            return "timeout", str(error)
        except Unanswered as silence:
            self.received += len(silence.received)
            return "timeout", str(silence)
        return "pass", ""

    def take(self, step: Step) -> None:
        if isinstance(step, Packets):
            self.exchange(step)
        elif isinstance(step, Count):
            self.check_count(step)
        else:
            self.target.reset(step.job)

    def exchange(self, step: Packets) -> None:
        self.sent += len(step.sent)
        received = self.collect(step)
        if step.expected is None:
            return
        difference = first_difference(step.expected, received)
        if difference:
            self.line = self.line_of(step, difference)
            raise Failure(self.shown(difference), difference)

    def collect(self, step: Packets) -> list[Datagram]:
        """All that comes; what is missing is asked for once more."""
        received = list(self.target.process(step.sent))
        while len(received) < len(step.expected or ()):
            late = self.target.process([])
            if not late:
                break
            received += late
        self.received += len(received)
        return received

    def check_count(self, step: Count) -> None:
        value = self.read(step.job, lambda counters: counters[step.name], step.value)
        if value is None:
            self.unchecked += 1
        elif value != step.value:
            raise Failure(f"{step.name}: expected {step.value}, received {value}")

    def check_total(self) -> None:
        """Every packet is counted exactly once."""
        total = self.read(
            None, lambda counters: sum(counters[name] for name in ONCE), self.sent
        )
        if total not in (None, self.sent):
            raise Failure(
                f"{self.sent} packets were sent, {total} counted: every packet counts "
                f"once, as one of {', '.join(ONCE)}"
            )

    def read(
        self, job: int | None, pick: Callable[[Mapping[str, int]], int], wanted: int
    ) -> int | None:
        """What a counter comes to, within `patience`. None: nobody tells."""
        until = time.monotonic() + self.patience
        while True:
            counters = self.target.counters(job)
            if counters is None:
                return None
            try:
                value = pick(counters)
            except KeyError as error:
                raise Failure(f"the target has no counter {error.args[0]}") from None
            if value == wanted or time.monotonic() >= until:
                return value
            time.sleep(PAUSE)

    def line_of(self, step: Packets, difference: Difference) -> int:
        """Of the `expect` that is not met; of the packet, where there is none."""
        lines = [
            line
            for (_, address), line in zip(
                step.expected or (), step.expect_lines, strict=True
            )
            if address == difference.receiver
        ]
        place = difference.place - 1
        return lines[place] if place < len(lines) else step.line

    def shown(self, difference: Difference) -> str:
        receiver = self.name_of(difference.receiver)
        if difference.received is None:
            return f"nothing came to {receiver}"
        if difference.expected is None:
            return f"{receiver} got a packet that no line expects"
        return f"not the packet that {receiver} must get"

    def name_of(self, address: Address) -> str:
        if address == STRANGER:
            return "the stranger"
        for job in self.script.jobs:
            if address in job.workers:
                return f"worker {job.workers.index(address)} of job {job.job}"
        return f"{address[0]}:{address[1]}, where no worker is"


def _hexed(packet: bytes | None) -> str | None:
    return None if packet is None else hexed(packet)
