"""The emulated switch as a target, without a network: the shortest one there is."""

from __future__ import annotations

from intswitch.conformance.script import Datagram
from switch.config import SwitchConfig
from switch.pipeline import Pipeline


class Emulated:
    """A pipeline of its own for every script."""

    def configure(self, config: SwitchConfig) -> None:
        self.pipeline = Pipeline(config)

    def process(self, datagrams: list[Datagram]) -> list[Datagram]:
        return self.pipeline.process(datagrams)

    def counters(self, job: int | None = None) -> dict[str, int]:
        return self.pipeline.counters(job)

    def reset(self, job: int) -> None:
        self.pipeline.reset(job)
