"""Switches for the test kit to judge: right ones, and such as are wrong in one way."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from intswitch.conformance import Outcome, Script, read, scripts
from intswitch.conformance.emulated import Emulated
from intswitch.conformance.script import Datagram
from switch.admission import text_of
from switch.config import Address, SwitchConfig
from switch.pipeline import Pipeline
from switch.protocol import Rule

TOO_LONG = "sequence_wrap"  # 131,080 packets


def scripts_of(rule: Rule, *, long: bool = False) -> list[Script]:
    found = [read(path) for path in scripts() if long or path.stem != TOO_LONG]
    return [script for script in found if script.rule == rule]


def some(*names: str) -> list[Script]:
    return [read(path) for path in scripts() if path.stem in names]


def results(outcomes: list[Outcome]) -> dict[str, str]:
    return {outcome.script: outcome.result for outcome in outcomes}


Change = Callable[[list[Datagram]], list[Datagram]]


@dataclass
class Wrong(Emulated):
    """The emulated switch, with its packets, counters or configuration changed."""

    change: Change = lambda copies: copies
    count: Callable[[dict[str, int]], dict[str, int] | None] = lambda counters: counters
    configured: Callable[[SwitchConfig], SwitchConfig] = lambda config: config

    def configure(self, config: SwitchConfig) -> None:
        super().configure(self.configured(config))

    def process(self, datagrams: list[Datagram]) -> list[Datagram]:
        return self.change(super().process(datagrams))

    def counters(self, job: int | None = None) -> dict[str, int] | None:  # type: ignore[override]
        return self.count(super().counters(job))


@dataclass
class BareSwitch:
    """A pipeline behind a UDP socket: no control plane, one packet after the other."""

    sock: socket.socket
    pipeline: Pipeline
    answer: Change
    stopping: bool = field(default=False)

    @property
    def endpoint(self) -> str:
        return text_of(self.sock.getsockname())

    def serve(self) -> None:
        while not self.stopping:
            packet, source = self.sock.recvfrom(65535)
            for copy, receiver in self.answer(
                self.pipeline.process([(packet, source)])
            ):
                self.send(copy, receiver)

    def send(self, packet: bytes, receiver: Address) -> None:
        self.sock.sendto(packet, receiver)


@contextmanager
def bare_switch(
    config: SwitchConfig,
    answer: Change = lambda copies: copies,
    address: str = "127.0.0.1",
) -> Iterator[BareSwitch]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind((address, 0))
        switch = BareSwitch(sock, Pipeline(config), answer)
        thread = threading.Thread(target=switch.serve)
        thread.start()
        try:
            yield switch
        finally:
            switch.stopping = True
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
                other.sendto(b"", sock.getsockname())
            thread.join()


def with_rule(rule: Rule) -> Callable[[SwitchConfig], SwitchConfig]:
    return lambda config: replace(config, rule=rule)
