#!/usr/bin/env python3
"""Hosts around one BMv2 switch that runs our P4 program, in Mininet.

    h0 --- port 0 +----+ port n --- eth0, where the control plane runs
    h1 --- port 1 | s1 |
       ...        +----+ ports n+1 and n+2: the two ends of one wire

    source .venv/bin/activate        # or have `intswitch` on PATH in another way
    sudo env PATH=$PATH /usr/bin/python3 topologies/mininet_star.py 4

starts the switch and its control plane, too, and then Mininet's prompt; simple_switch
and p4c-bm2-ss must be on PATH as well. At the prompt, `h0 ping h1` goes through the
switch, and workers in h0, h1, ... join at 10.0.0.254:48864. The command
`intswitch train --fabric mininet` needs none of this: it calls this script for the
network alone (--bare).

Needs Mininet (Debian and Ubuntu: `apt install mininet`) and the Python that has it,
which is the system's.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

COMMAND = "sudo env PATH=$PATH /usr/bin/python3 topologies/mininet_star.py"

try:
    from mininet.cli import CLI
    from mininet.link import Link
    from mininet.net import Mininet
    from mininet.node import Node, Switch
    from mininet.topo import Topo
except ModuleNotFoundError:
    sys.exit(
        f"{sys.executable} has no Mininet. Debian's and Ubuntu's (apt install mininet) "
        f"is for the system's Python:\n    {COMMAND}"
    )

TOOLS = {
    "simple_switch": "BMv2, see p4/README.md",
    "p4c-bm2-ss": "p4c, see p4/README.md",
    "intswitch": f"source .venv/bin/activate, then\n    {COMMAND}",
}
PROGRAM = Path(__file__).resolve().parent.parent / "p4" / "intswitch.p4"
SWITCH_ADDRESS, CONTROL_ADDRESS, PORT = "10.0.0.253", "10.0.0.254", 48864
THRIFT_PORT = 9090  # in the switch's namespace
OFFLOADS = "tx off rx off gro off gso off tso off"


def mac_of(number: int) -> str:
    return f"02:00:00:00:00:{number + 1:02x}"


def address_of(number: int) -> str:
    return f"10.0.0.{number + 1}"


class P4Switch(Switch):  # type: ignore[misc]
    """A namespace with a port for every host, one for the control plane, and two ports
    that are wired to each other: jobs of wide slots need them (p4/grow.p4)."""

    def __init__(self, name: str, **options: object) -> None:
        super().__init__(name, **{**options, "inNamespace": True})

    def start(self, controllers: list[object]) -> None:
        """Mininet's moment to start a switch: all hosts are linked."""
        self.cmd("ip link set lo up")
        number = sum(name.startswith("port") for name in self.nameToIntf)
        self.pair("eth0", "control")
        self.pair("loop0", "loop1")
        self.cmd(f"ip link set eth0 address {mac_of(number)}")
        self.cmd(f"ip address add {CONTROL_ADDRESS}/24 dev eth0")

    def pair(self, one: str, other: str) -> None:
        self.cmd(f"ip link add {one} type veth peer name {other}")
        for name in (one, other):
            as_on_a_wire(self, name)
            self.cmd(f"ip link set {name} up")


class Star(Topo):  # type: ignore[misc]
    def build(self, names: list[str]) -> None:
        self.addSwitch("s1", cls=P4Switch)
        for number, name in enumerate(names):
            self.addHost(name, ip=f"{address_of(number)}/24", mac=mac_of(number))
            self.addLink(name, "s1", cls=Link, intfName2=f"port{number}")


def as_on_a_wire(node: Node, interface: str) -> None:
    """A packet a frame, with its checksum: a switch in software sees what is sent."""
    node.cmd(f"sysctl -qw net.ipv6.conf.{interface}.disable_ipv6=1")
    node.cmd(f"ethtool -K {interface} {OFFLOADS}")


def started(names: list[str]) -> Mininet:
    net = Mininet(topo=Star(names=names), controller=None)
    net.start()
    for node in [*net.hosts, *net.switches]:
        for interface in node.intfNames():
            if interface != "lo":
                as_on_a_wire(node, interface)
    return net


def start_switch(net: Mininet, folder: Path) -> None:
    """BMv2 and the control plane, in the switch's namespace."""
    program, file = folder / "intswitch.json", folder / "controller.json"
    compiler = ["p4c-bm2-ss", "--std", "p4-16", "-o", str(program), str(PROGRAM)]
    subprocess.run(compiler, check=True)
    (switch,) = net.switches
    count = len(net.hosts)
    ports = [f"-i {number}@port{number}" for number in range(count)]
    ports += [f"-i {count}@control", f"-i {count + 1}@loop0", f"-i {count + 2}@loop1"]
    switch.cmd(
        f"simple_switch {' '.join(ports)} --thrift-port {THRIFT_PORT}"
        f" --notifications-addr ipc://{folder}/ipc {program} > {folder}/bmv2.log 2>&1 &"
    )
    addresses = [*(address_of(number) for number in range(count)), CONTROL_ADDRESS]
    stations = [
        {"address": address, "mac": mac_of(number), "port": number}
        for number, address in enumerate(addresses)
    ]
    own = {
        "address": SWITCH_ADDRESS,
        "mac": mac_of(count + 1),
        "thrift_port": THRIFT_PORT,
        "loop": count + 1,
    }
    control = {"address": CONTROL_ADDRESS, "port": PORT, "insecure": True}
    settings = {"switch": own, "control": control, "stations": stations}
    file.write_text(json.dumps(settings))  # JSON is YAML
    switch.cmd(f"intswitch controller {file} > {folder}/controller.log 2>&1 &")
    print(f"logs and settings: {folder}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("hosts", type=int, nargs="?", default=4, help="how many")
    parser.add_argument("--names", nargs="+", help="the hosts' names instead")
    parser.add_argument(
        "--bare",
        action="store_true",
        help="the network alone: print a process of every host and of the switch as"
        " JSON, and end when the standard input is closed",
    )
    arguments = parser.parse_args()
    for tool, where in TOOLS.items():
        if not arguments.bare and shutil.which(tool) is None:
            sys.exit(f"{tool} is not on PATH: {where}")
    net = started(arguments.names or [f"h{n}" for n in range(arguments.hosts)])
    try:
        if arguments.bare:
            pids = {node.name: node.pid for node in [*net.hosts, *net.switches]}
            print(json.dumps(pids), flush=True)
            sys.stdin.read()
            return
        with tempfile.TemporaryDirectory(prefix="intswitch-mininet-") as folder:
            start_switch(net, Path(folder))
            CLI(net)
    finally:
        net.stop()


if __name__ == "__main__":
    main()
