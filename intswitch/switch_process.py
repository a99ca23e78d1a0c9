"""An emulated switch in a process of its own."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from typing import Self

from intswitch.child import Child, lines_until, python
from switch.closing import Closing

START_TIMEOUT = 300.0
"""Seconds. The first start compiles every kernel, which takes half a minute."""
PATIENCE = 3.0
"""Seconds after which a start says what it is busy with."""

OPTIONS = (
    "rule", "num_slots", "slot_bytes", "loss_in", "loss_out", "faults", "fault_seed",
    "tls_certificate", "tls_key", "tokens", "insecure",
    "parent",
)  # fmt: skip


def say(message: str) -> None:
    print(f"intswitch: {message}", file=sys.stderr, flush=True)


class Switch(Closing):
    """Context manager: the switch runs inside the `with` block.

        with intswitch.Switch("127.0.0.1", 48864) as switch:
            network = intswitch.join(switch.endpoint, job="demo", rank=0, num_workers=2)

    `options` are those of `intswitch switch`: rule, num_slots, slot_bytes, loss_in,
    loss_out, faults, fault_seed, parent, tls_certificate, tls_key, tokens, insecure;
    another one is a ValueError. Port 0 takes any free one, and `port` tells which. The
    process ends with this one, even if that is killed.
    Raises RuntimeError, with the switch's own words, when it does not start.
    """

    def __init__(
        self,
        address: str = "127.0.0.1",
        port: int = 48864,
        *,
        name: str = "the switch",
        enter: Sequence[str] = (),
        status: Callable[[str], None] = say,
        **options: str | int | float,
    ) -> None:
        unknown = sorted(set(options) - set(OPTIONS))
        if unknown:
            raise ValueError(
                f"Switch: no option {', '.join(unknown)}: it has {', '.join(OPTIONS)}"
            )
        self.address = address
        self.port = port
        self.name = name
        self.enter = enter
        """What to put before the command: where the process is to run."""
        self.status = status
        self.options = options
        self.child: Child | None = None

    @property
    def endpoint(self) -> str:
        """ADDRESS:PORT, as `intswitch.join` takes it."""
        host = f"[{self.address}]" if ":" in self.address else self.address
        return f"{host}:{self.port}"

    def start(self) -> None:
        """Start the process; return when it listens."""
        arguments = ["--address", self.address, "--port", str(self.port)]
        for name, value in self.options.items():
            flag = f"--{name.replace('_', '-')}"
            arguments += [flag] if value is True else [flag, str(value)]
        command = ["intswitch", "switch", "--until-stdin-closes", *arguments]
        self.child = Child(self.name, [*self.enter, *python(*command)])
        try:
            self.port = self._wait(self.child)
        except BaseException:
            self.close()
            raise

    def _wait(self, child: Child) -> int:
        """The port from the line `listening ADDRESS:PORT`."""
        started = time.monotonic()
        for deadline in (started + PATIENCE, started + START_TIMEOUT):
            for _, line in lines_until([child], deadline):
                if line is None:
                    reason = child.errors().removeprefix("error: ") or child.ending()
                    raise RuntimeError(f"{self.name} did not start: {reason}")
                if line.startswith("listening "):
                    return int(line.rpartition(":")[2])
            if deadline == started + PATIENCE:
                self.status("compiling the switch's kernels (once, half a minute)")
        raise RuntimeError(
            f"{self.name} did not start: no word from it for {START_TIMEOUT:.0f} s"
        )

    def close(self) -> None:
        """Stop the process. Safe to call twice."""
        if self.child is not None:
            self.child.close()
            self.child = None

    def __enter__(self) -> Self:
        self.start()
        return self
