"""What a switch under test looks like to the kit, wherever it runs."""

from __future__ import annotations

from typing import Protocol

from intswitch.conformance.script import Datagram
from switch.config import Address, SwitchConfig

Places = dict[Address, Address]
"""Address of a worker in the script -> its address on the network."""


class Target(Protocol):
    """A switch under test. Jobs and addresses are those of the script.

    Who drives a switch in a way of his own writes these four methods. Each may raise
    Skip; process may raise Unanswered and Violation.
    """

    def configure(self, config: SwitchConfig) -> None:
        """Have these jobs, all slots empty and all counters 0, and no others."""

    def process(self, datagrams: list[Datagram]) -> list[Datagram]:
        """Packets and their senders, into the switch in this order. Returns the packets
        that leave it, with their receivers; to each receiver in the order sent. With
        no packets: what may have come late."""

    def counters(self, job: int | None = None) -> dict[str, int] | None:
        """Packets by what became of them, of one job or of the whole switch. None: it
        cannot tell."""

    def reset(self, job: int) -> None:
        """Start the job afresh: its slots are empty."""


class Skip(Exception):
    """The script cannot be run on this target; the text says why."""


class Violation(Exception):
    """The target did what no switch may do, whatever the script."""


class Unanswered(Exception):
    """The target fell silent where it must answer."""

    def __init__(self, text: str, received: list[Datagram]) -> None:
        super().__init__(text)
        self.received = received
        """What it had sent until then."""
