"""A process that this one starts, listens to, and takes with it when it ends.

A child's standard input is a pipe that nobody else holds: the kernel closes it when
the parent ends, however it ends, and `end_with_parent` in the child sees that. (The
death signal of Linux would not do: it fires when the *thread* that started the child
ends.) A child has a session of its own, so Ctrl-C reaches the parent alone.
"""

from __future__ import annotations

import contextlib
import math
import os
import selectors
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence

GRACE = 3.0
"""Seconds from the polite signal to the other one."""
LONGEST_WAIT = 3600.0
"""Seconds after which a deadline is looked at again: the kernel counts to 24 days."""


def python(*module: str) -> list[str]:
    """The command `python -m module[0] module[1] ...`."""
    # -P: a user's own switch.py or host.py in the current folder is not ours.
    return [sys.executable, "-P", "-m", *module]


def search_path() -> str:
    """PATH, and where Debian puts programs for root, which users do not have on it."""
    return f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"


class Child:
    """One started process; `name` is what messages call it."""

    def __init__(
        self, name: str, command: Sequence[str], environment: Mapping[str, str] = {}
    ) -> None:
        self.name = name
        self._rest = b""
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as self
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env={**os.environ, **environment},
            start_new_session=True,
            bufsize=0,
        )

    def fileno(self) -> int:
        """So that a selector can wait for the child's output."""
        assert self.process.stdout is not None
        return self.process.stdout.fileno()

    def write(self, line: str) -> None:
        """Send one line. A child that has ended is noticed elsewhere."""
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.write(line.encode() + b"\n")

    def read(self) -> list[str] | None:
        """Whole lines that have come, after a selector said so. None: the end."""
        received = os.read(self.fileno(), 1 << 16)
        if not received:
            return None
        *lines, self._rest = (self._rest + received).split(b"\n")
        return [line.decode(errors="replace") for line in lines]

    def errors(self) -> str:
        """What the child wrote to its standard error."""
        self._errors.seek(0)
        return self._errors.read().decode(errors="replace").strip()

    def has_ended(self) -> bool:
        return self.process.poll() is not None

    def ending(self) -> str:
        """How it ended, as the end of a sentence that begins with its name."""
        status = self.process.wait()
        # a tether says of its command what a shell would: 128 + the signal's number
        number = -status if status < 0 else status - 128
        if number in list(signal.Signals):
            return f"was killed by {signal.Signals(number).name}"
        return f"ended with exit status {status}"

    def terminate(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()

    def close(self) -> None:
        """End the process, whatever it does, and free what belongs to it."""
        self.terminate()
        try:
            self.process.wait(GRACE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout, self._errors):
            if pipe is not None:
                pipe.close()


def lines_until(
    children: Sequence[Child], deadline: float | Callable[[], float] = math.inf
) -> Iterator[tuple[Child, str | None]]:
    """Yield (child, line) as lines come, (child, None) when a child has ended.

    Stops when all have ended, or at the deadline (of `time.monotonic`), which is asked
    for again whenever lines have come; every line that has been read is yielded first.
    """
    with selectors.DefaultSelector() as selector:
        for child in children:
            selector.register(child, selectors.EVENT_READ, child)
        while selector.get_map():
            moment = deadline() if callable(deadline) else deadline
            left = moment - time.monotonic()
            if left <= 0:
                return
            for key, _ in selector.select(min(left, LONGEST_WAIT)):
                lines = key.data.read()
                if lines is None:
                    selector.unregister(key.data)
                for line in [None] if lines is None else lines:
                    yield key.data, line


def close_all(children: Sequence[Child]) -> None:
    """End them side by side rather than one after the other."""
    for child in children:
        child.terminate()
    for child in children:
        child.close()


def end_with_parent(
    stop: Callable[[], None], on_line: Callable[[str], None] = lambda line: None
) -> None:
    """In the child: hand over lines from the parent; `stop()` when it is gone."""

    def watch() -> None:
        with contextlib.suppress(OSError, ValueError):
            for line in sys.stdin:
                on_line(line)
        stop()

    threading.Thread(target=watch, name="parent", daemon=True).start()


def stop_politely() -> None:
    """A stop for `end_with_parent`: as SIGTERM would, and by force if need be."""
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(GRACE)
    os._exit(1)
