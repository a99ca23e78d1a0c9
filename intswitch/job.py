"""A process group's place at a switch: torch's store tells its ranks where.

Rank 0 decides: the switch that it was told of, or one that it starts as a process of
its own, and everything that all must do alike. The others read that from the store.
"""

from __future__ import annotations

import atexit
import json
import os
import secrets
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from datetime import timedelta
from typing import Any, ClassVar

import numpy as np
import torch

from host.access import Access
from host.agent import Network, join
from host.compressors.base import Compressor
from host.compressors.device_sum import compile_kernels
from intswitch.methods import Method
from intswitch.switch_process import PATIENCE, Switch, say
from switch.config import SwitchConfig

DEFAULT_COMPRESSOR = "block_exponent:element_type=int32,exponents=first"
"""The same bits whatever the order and the run, and nothing is remembered; where a
tensor lies on a device, integers are made there."""
PAST_THE_SWITCH = "exact"
"""The compressor with which floats do not go through the switch."""
FAREWELL = timedelta(seconds=10)
"""How long a switch stays for ranks that have not left yet ..."""
LAST_WORDS = timedelta(seconds=2)
"""... and when this process ends without a word."""
LOOPBACK = "127.0.0.1"
WIDE = {"num_slots": 256, "slot_bytes": 8104, "mtu": 65535}
"""Packets on the loopback interface: eight of them are one system call."""
NARROW = {"num_slots": 512, "slot_bytes": 1024, "mtu": 1500}


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What can be chosen of a process group: `pg_options` of `init_process_group`. What
    rank 0 chooses counts."""

    switch: str | None = None
    """HOST:PORT of a switch that runs; None: rank 0 starts one."""

    compressor: str = DEFAULT_COMPRESSOR
    """What averages float32, bfloat16 and float16, as `name:option=value,...`."""

    check: bool = True
    """Compare before each collective, gloo's too, what the ranks are about to do. It
    costs one small packet a rank, and makes an error of what else would wait for its
    timeout."""

    num_slots: int | None = None
    """Of the job, a power of two; None: what suits the switch. Likewise the next."""

    slot_bytes: int | None = None

    mtu: int | None = None
    """Of the network to the switch, in bytes."""

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Options:
        """From INTSWITCH_SWITCH, INTSWITCH_COMPRESSOR, ... Raises ValueError."""
        given = {}
        for name, read in READERS.items():
            variable = f"INTSWITCH_{name.upper()}"
            text = environment.get(variable, "")
            if text:
                given[name] = _read(variable, text, read)
        return cls(**given)


def _truth(text: str) -> bool:
    return {"0": False, "1": True}[text]


READERS: dict[str, Callable[[str], Any]] = {
    "switch": str,
    "compressor": str,
    "check": _truth,
    "num_slots": int,
    "slot_bytes": int,
    "mtu": int,
}
EXPECTED: dict[Callable[[str], Any], str] = {_truth: "0 or 1", int: "a whole number"}


def _read(variable: str, text: str, read: Callable[[str], Any]) -> Any:
    try:
        return read(text)
    except (KeyError, ValueError):
        raise ValueError(f"{variable}={text}: expected {EXPECTED[read]}") from None


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """What rank 0 tells the others."""

    switch: str
    job: str
    token: str
    """Of the job: who does not read the store cannot join it."""
    compressor: str
    check: bool
    num_slots: int
    slot_bytes: int
    mtu: int

    def create(self) -> Compressor:
        """A new compressor, as all have it."""
        return Method.parse(self.compressor).create(seed=0)

    @property
    def averages(self) -> bool:
        """Whether floats go through the switch."""
        return Method.parse(self.compressor).compressor != PAST_THE_SWITCH


class Job:
    """One group's job, from the store to the network; and the switch, if rank 0 had to
    start one."""

    first: ClassVar[Job | None] = None
    """The one that this process joined first: groups that torch makes of parts of a
    group come without options, and shall be at the same switch."""

    def __init__(
        self,
        store: Any,
        rank: int,
        size: int,
        timeout: timedelta,
        options: Options | None = None,
    ) -> None:
        """store: of the group. All ranks make a group's jobs in the same order.

        Raises RuntimeError, with rank 0's reason, if there is no switch; and what
        `intswitch.join` raises.
        """
        self.store, self.rank, self.size = store, rank, size
        number = store.add(f"{attempt()}/{rank}", 1)
        self.key = f"{attempt()}/job/{number}"
        self.switch: Switch | None = None
        self.closed = False
        atexit.register(self.abandon)
        try:
            self.setup = self._tell(options) if rank == 0 else self._learn()
            seconds = timeout.total_seconds()
            self.network = join_by(self.setup, self.setup.job, rank, size, seconds)
            self.network.timeout = seconds
            self.devices = self.setup.create().devices
            """See `Compressor`."""
        except BaseException:
            self._stop_switch()
            atexit.unregister(self.abandon)
            raise
        if Job.first is None:
            Job.first = self

    def _tell(self, options: Options | None) -> Setup:
        """Rank 0: decide, and tell the others; a failure, too."""
        try:
            setup = self._decide(options)
            warm_up(setup)
        except BaseException as error:
            self.store.set(self.key, json.dumps({"error": str(error)}))
            raise
        self.store.set(self.key, json.dumps(asdict(setup)))
        return setup

    def _learn(self) -> Setup:
        told = json.loads(self.store.get(self.key))
        if "error" in told:
            raise RuntimeError(f"rank 0 has no switch for the group: {told['error']}")
        return Setup(**told)

    def _decide(self, options: Options | None) -> Setup:
        earlier = Job.first.setup if Job.first is not None else None
        if options is None and earlier is not None:
            return replace(earlier, job=new_name(), token=secrets.token_hex(16))
        chosen = options or Options.from_environment()
        Method.parse(chosen.compressor).checked()
        endpoint, packets = chosen.switch, NARROW
        if endpoint is None:
            address = address_for_all(os.environ)
            packets = WIDE if address == LOOPBACK else NARROW
            endpoint = self._start_switch(
                address, chosen.slot_bytes or packets["slot_bytes"]
            )
        return Setup(
            switch=endpoint,
            job=new_name(),
            token=secrets.token_hex(16),
            compressor=chosen.compressor,
            check=chosen.check,
            num_slots=chosen.num_slots or packets["num_slots"],
            slot_bytes=chosen.slot_bytes or packets["slot_bytes"],
            mtu=chosen.mtu or packets["mtu"],
        )

    def _start_switch(self, address: str, width: int) -> str:
        """For slots of this width or the usual ones. Returns its endpoint."""
        # torch's store, through which the others come, is as open as that
        insecure: dict[str, Any] = {} if address == LOOPBACK else {"insecure": True}
        most = max(width, SwitchConfig().slot_bytes)
        self.switch = Switch(address, 0, slot_bytes=most, **insecure)
        self.switch.start()
        return self.switch.endpoint

    def close(self, leave: bool = True, farewell: timedelta = FAREWELL) -> None:
        """Leave the job. Who started the switch ends it, once all that live have left
        or after `farewell`. Safe to call twice."""
        if self.closed:
            return
        self.closed = True
        atexit.unregister(self.abandon)
        if Job.first is self:
            Job.first = None
        self.network.close(leave)
        # the store may be gone before us
        with suppress(RuntimeError):
            self.store.set(f"{self.key}/left/{self.rank}", "")
            if self.switch is not None:
                alive = set(range(self.size)) - set(self.network.dead)
                keys = [f"{self.key}/left/{rank}" for rank in sorted(alive)]
                self.store.wait(keys, farewell)
        self._stop_switch()

    def abandon(self) -> None:
        """What is left to do when the process ends: the others are told that it did."""
        self.close(leave=False, farewell=LAST_WORDS)

    def _stop_switch(self) -> None:
        if self.switch is not None:
            self.switch.close()


def new_name() -> str:
    """Of a job that no other is called."""
    return f"torch {secrets.token_hex(8)}"


def join_by(setup: Setup, job: str, rank: int, size: int, timeout: float) -> Network:
    """Join a job that is as rank 0 decided."""
    tables = setup.create().tables(size)
    access = Access.from_environment()
    return join(
        setup.switch,
        job=job,
        rank=rank,
        num_workers=size,
        timeout=timeout,
        num_slots=setup.num_slots,
        slot_bytes=setup.slot_bytes,
        mtu=setup.mtu,
        code4=tables.get("code4"),
        code8=tables.get("code8"),
        access=access if access.token else replace(access, token=setup.token),
    )


def warm_up(setup: Setup) -> None:
    """Rank 0, alone: have all kernels compiled, which the others then find. Else all
    ranks would compile the same ones at the same time."""
    told = threading.Timer(PATIENCE, say, ["compiling kernels (once, about a minute)"])
    told.daemon = True
    told.start()
    try:
        with join_by(setup, f"{setup.job} alone", 0, 1, PATIENCE) as network:
            gradient, compressor = np.ones(8, np.float32), setup.create()
            # the first step may differ from the others
            for _ in range(2 if setup.averages else 0):
                compressor.average(gradient, network)
            if compressor.devices and torch.version.cuda is not None:
                compile_kernels(network)
            network.max(np.ones(2, np.int32))
            network.gather(b"warm")
    finally:
        told.cancel()


def attempt() -> str:
    """What keys in the store begin with: torchrun starts ranks again, and torch 2.13
    may leave them the store of those that died."""
    return f"intswitch/{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}"


def address_for_all(environment: Mapping[str, str]) -> str:
    """Where all ranks reach rank 0, from what torchrun tells it: rank 0 is where the
    rendezvous is. Raises ValueError."""
    from intswitch.configuration import resolve_host

    here, all_ranks = (
        environment.get(name, "") for name in ("LOCAL_WORLD_SIZE", "WORLD_SIZE")
    )
    master = environment.get("MASTER_ADDR", LOOPBACK)
    address = LOOPBACK if here and here == all_ranks else resolve_host(master)
    if here != all_ranks and address.startswith("127."):
        raise ValueError(
            f"MASTER_ADDR={master} is {address}, which other machines do not reach: "
            "start a switch and set INTSWITCH_SWITCH=HOST:PORT"
        )
    return address
