"""BMv2 with our P4 program as the switch; every host in a network namespace.

host0 (worker 0) --- port 0 +--------+
host1 (worker 1) --- port 1 | switch | port n ------ control plane
      ...                   +--------+ ports n+1, n+2: a wire from one to the other
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from intswitch.child import Child, close_all, lines_until, python, search_path
from intswitch.fabrics.course import FabricError
from intswitch.fabrics.fabric import ENVIRONMENT, Fabric
from intswitch.fabrics.namespaces import End, Namespaces
from intswitch.p4_program import CompilerError, Program, compile_program
from intswitch.topology import LinkPart, Topology
from switch.protocol import DEFAULT_PORT

TOOLS = {
    "simple_switch": "BMv2 (p4lang's packages, see p4/README.md)",
    "simple_switch_CLI": "BMv2, too",
    "p4c-bm2-ss": "p4c, the compiler of P4",
    "ip": "iproute2",
    "setpriv": "util-linux",
}
SWITCH = "switch"  # the namespace
SWITCH_ADDRESS, CONTROL_ADDRESS = "10.0.0.253", "10.0.0.254"
THRIFT_PORT = 9090  # in the switch's namespace; nobody else is there
START_TIMEOUT = 30.0
LOSS_RULES = """
table inet intswitch {
  chain lose_in {
    type filter hook input priority 0
    udp sport PORT numgen random mod 1000000 < PARTS drop
  }
  chain lose_out {
    type filter hook output priority 0
    udp dport PORT numgen random mod 1000000 < PARTS drop
  }
}
"""


class Bmv2(Fabric):
    """A topology at work."""

    name = "bmv2"
    cannot = tuple(sorted(set(LinkPart.model_fields) - {"between", "loss"}))
    binary = "simple_switch"
    tools: Mapping[str, str] = TOOLS

    def __init__(self, topology: Topology, **options: Any) -> None:
        super().__init__(topology, **options)
        self.namespaces: Namespaces | None = None
        self.folder: Path | None = None
        """With what only the switch and its controller read. The tether removes it."""
        self.enter: dict[str, list[str]] = {}
        """What to put before a command that is to run at a host, or at SWITCH."""
        self._others: list[Child] = []

    @classmethod
    def missing(cls) -> list[str]:
        reasons = [
            f"{tool} is not on PATH: it comes with {what}"
            for tool, what in cls.tools.items()
            if shutil.which(tool, path=search_path()) is None
        ]
        if os.geteuid() != 0:
            reasons.append("network namespaces need root: sudo, or run as root")
        return reasons

    def endpoint_of(self, host: str) -> str:
        return f"{CONTROL_ADDRESS}:{DEFAULT_PORT}"

    @property
    def others(self) -> list[Child]:
        return self._others

    @property
    def data_planes(self) -> list[Child]:
        """All but the controller, which comes last."""
        return self._others[:-1]

    def start(self) -> None:
        self.status("compiling the P4 program")
        try:
            program = compile_program()
        except CompilerError as error:
            raise FabricError(str(error)) from error
        self.status("starting BMv2 and workers")
        self.build()
        for host in self.topology.hosts:
            if self.topology.links[0].loss:
                lose(self.enter[host], self.topology.links[0].loss)
        for worker, host in self.seats():
            self.workers.append(self._child(worker, host, self.worker))
        # named by who made it, for `intswitch doctor`
        self.folder = Path(tempfile.mkdtemp(prefix=f"intswitch-bmv2-{os.getpid()}-"))
        file = self.folder / "controller.json"
        # JSON is YAML
        file.write_text(json.dumps(self._controller_file(program)))
        ports = [f"-i{port}@{name}" for port, name in enumerate(self._ports())]
        notifications = f"ipc://{self.folder}/notifications"
        self._start_switch(
            "BMv2",
            *python("intswitch.tether", str(self.folder), self.binary, *ports),
            *("--notifications-addr", notifications, *self.switch_options(program)),
        )
        arguments = ["controller", "--until-stdin-closes", str(file)]
        self._start_switch("the controller", *python("intswitch", *arguments))
        self._await_controller()

    def switch_options(self, program: Program) -> list[str]:
        """How the switch gets its program, and where it can be programmed."""
        return ["--thrift-port", str(THRIFT_PORT), str(program.json)]

    def connection(self, program: Program) -> dict[str, object]:
        """The same for the controller's file."""
        return {"thrift_port": THRIFT_PORT}

    def stop(self) -> None:
        close_all(self._others)
        self._others = []
        self.remove()
        if self.folder is not None:  # its tether may have been killed
            shutil.rmtree(self.folder, ignore_errors=True)

    def build(self) -> None:
        """Make the network, and fill `enter`."""
        self.namespaces = Namespaces()
        self._connect(self.namespaces)
        names = (SWITCH, *self.topology.hosts)
        self.enter = {name: self.namespaces.enter(name) for name in names}

    def remove(self) -> None:
        """The network. Safe to call twice, and when it has not been made."""
        if self.namespaces is not None:
            self.namespaces.close()

    def interface(self, host: str) -> str:
        """Of a host's own end of its link."""
        return "eth0"

    def _start_switch(self, name: str, *command: str) -> None:
        self._others.append(self._child(name, SWITCH, command))

    def _child(self, name: str, place: str, command: Sequence[str]) -> Child:
        own = {"GLOO_SOCKET_IFNAME": self.interface(place), "PATH": search_path()}
        return Child(name, [*self.enter[place], *command], ENVIRONMENT | own)

    def _ports(self) -> list[str]:
        """Interfaces of the switch, by port."""
        hosts = [f"port{number}" for number in range(len(self.topology.hosts))]
        return [*hosts, "control", "loop0", "loop1"]

    def _connect(self, namespaces: Namespaces) -> None:
        for name in (SWITCH, *self.topology.hosts):
            namespaces.add(name)
        for number, host in enumerate(self.topology.hosts):
            eth0 = End(host, "eth0", address_of(number), mac_of(number))
            namespaces.connect(eth0, End(SWITCH, f"port{number}"))
        number = len(self.topology.hosts)
        own = End(SWITCH, "eth0", CONTROL_ADDRESS, mac_of(number))
        namespaces.connect(own, End(SWITCH, "control"))
        namespaces.connect(End(SWITCH, "loop0"), End(SWITCH, "loop1"))

    def _controller_file(self, program: Program) -> dict[str, object]:
        (part,) = self.topology.switches.values()
        count = len(self.topology.hosts)
        addresses = [*map(address_of, range(count)), CONTROL_ADDRESS]
        return {
            "switch": {
                "address": SWITCH_ADDRESS,
                "mac": mac_of(count + 1),
                "rule": part.rule,
                **self.connection(program),
                "loop": count + 1,
            },
            "control": {
                "address": CONTROL_ADDRESS,
                "port": DEFAULT_PORT,
                "insecure": True,  # nobody else is in this network
            },
            "stations": [
                {"address": address, "mac": mac_of(number), "port": number}
                for number, address in enumerate(addresses)
            ],
        }

    def _await_controller(self) -> None:
        deadline = time.monotonic() + START_TIMEOUT
        for child, line in lines_until(self._others, deadline):
            if line is None:
                raise FabricError(f"{child.name} {child.ending()}: {child.errors()}")
            if line.startswith("listening "):
                return
        raise FabricError(f"the controller did not start in {START_TIMEOUT:.0f} s")


def address_of(number: int) -> str:
    """IPv4 of a host."""
    return f"10.0.0.{number + 1}"


def mac_of(number: int) -> str:
    return f"02:00:00:00:00:{number + 1:02x}"


def lose(enter: list[str], probability: float) -> None:
    """Drop aggregation packets of a host at random, each way.

    A train of packets that the host's kernel has not cut yet is dropped as a whole.
    """
    parts = str(round(probability * 1_000_000))
    rules = LOSS_RULES.replace("PORT", str(DEFAULT_PORT)).replace("PARTS", parts)
    command = [*enter, "nft", "-f", "-"]
    environment = {**os.environ, "PATH": search_path()}
    done = subprocess.run(
        command, input=rules, capture_output=True, text=True, env=environment
    )
    if done.returncode:
        raise FabricError(f"nft (loss on links): {done.stderr.strip()}")
