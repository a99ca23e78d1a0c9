"""BMv2 for tests: our P4 program on a `simple_switch`, or a `simple_switch_grpc`, in a
network namespace of its own, with the interface of `switch.pipeline.Pipeline`.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import frames
from frames import End
from golden import Datagram

from switch import p4_tables
from switch.config import Address, SwitchConfig
from switch.p4_dataplane import P4Dataplane, bound_addresses
from switch.p4_tables import Entry, Station
from switch.protocol import DEFAULT_PORT, HEADER_BYTES
from switch.simple_switch import CLI, SimpleSwitch, SimpleSwitchError

if TYPE_CHECKING:
    from switch.p4runtime import P4Runtime

PACKETS = int(os.environ.get("INTSWITCH_BMV2_PACKETS", "2000"))  # of a random stream
ENOUGH = 10_000  # to reach everything, and for a file of 131,072 packets to be replayed

FEW_SLOTS = 512  # make the registers quick to empty, before each test

PROGRAM = Path(__file__).parent.parent / "p4" / "intswitch.p4"
COMPILER = "p4c-bm2-ss"
TOOLS = ("ip", "ethtool")
THRIFT_TOOLS = (*TOOLS, "simple_switch", CLI)
P4RUNTIME_TOOLS = (*TOOLS, "simple_switch_grpc")
NUM_PORTS = 4  # to hosts
LOOP = NUM_PORTS  # and LOOP + 1, at the other end of the wire
LOOP_PASSES = 2  # that the smallest packet with the largest result takes
SWITCH = End(0x02_00_00_00_FF_01, "10.255.0.1", DEFAULT_PORT)
OFFLOADS = ("tx", "rx", "gro", "gso", "tso")
THRIFT_PORT = 9090  # in the namespace; nobody else is there
TIMEOUT = 10.0  # seconds that a packet may take before a test fails
GROWTH = 512  # sizes.p4
BURST = 16  # packets sent before their handling is awaited: pcap's ring holds 32

CLONE_NEWNET = 0x40000000
SOL_PACKET, PACKET_IGNORE_OUTGOING = 263, 23
ETH_P_ALL = 3


@dataclass(frozen=True)
class Program:
    """What the compiler makes."""

    json: Path
    p4info: Path


def missing(tools: Sequence[str]) -> str | None:
    """Why BMv2 cannot run here, or None."""
    absent = [tool for tool in tools if not shutil.which(tool)]
    if absent:
        return f"not on PATH: {', '.join(absent)}"
    return None if os.geteuid() == 0 else "network namespaces need root"


def compile_program(folder: Path) -> Program:
    """A warning of the compiler is an error."""
    program = Program(folder / "intswitch.json", folder / "intswitch.p4info.txtpb")
    slots = [] if PACKETS >= ENOUGH else [f"-DNUM_SLOTS={FEW_SLOTS}"]
    outputs = ["-o", str(program.json), "--p4runtime-files", str(program.p4info)]
    command = [COMPILER, "--std", "p4-16", *slots, *outputs, str(PROGRAM)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return program


def run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"


class Namespace:
    """A network namespace with a pair of interfaces a port: hostN to the test, portN to
    the switch; and two more ports, wired to each other."""

    def __init__(self) -> None:
        self.name = f"bmv2-{os.getpid()}-{time.monotonic_ns() % 10**6}"
        self.sockets: list[socket.socket] = []
        run("ip", "netns", "add", self.name)
        try:
            run(*self.inside, "ip", "link", "set", "lo", "up")
            for port in range(NUM_PORTS):
                self._connect(f"host{port}", f"port{port}")
            self._connect(f"port{LOOP}", f"port{LOOP + 1}")
            self.sockets = self._open_sockets()
        except BaseException:
            self.close()
            raise

    @property
    def inside(self) -> list[str]:
        """What to put before a command that is to run in it."""
        return ["ip", "netns", "exec", self.name]

    def _connect(self, one: str, other: str) -> None:
        pair = ["type", "veth", "peer", "name", other]
        run(*self.inside, "ip", "link", "add", one, *pair)
        for name in (one, other):
            # BMv2 must see frames as they are on a wire: no offloads; and no chatter
            offloads = (word for each in OFFLOADS for word in (each, "off"))
            run(*self.inside, "ethtool", "-K", name, *offloads)
            silent = f"net.ipv6.conf.{name}.disable_ipv6=1"
            run(*self.inside, "sysctl", "-qw", silent)
            run(*self.inside, "ip", "link", "set", name, "arp", "off", "up")

    def _open_sockets(self) -> list[socket.socket]:
        """A raw socket a port, opened within."""
        libc = ctypes.CDLL(None, use_errno=True)
        with (
            open("/proc/thread-self/ns/net") as before,
            open(f"/run/netns/{self.name}") as there,
        ):
            assert libc.setns(there.fileno(), CLONE_NEWNET) == 0
            try:
                return [raw_socket(f"host{port}") for port in range(NUM_PORTS)]
            finally:
                assert libc.setns(before.fileno(), CLONE_NEWNET) == 0

    def close(self) -> None:
        for opened in self.sockets:
            opened.close()
        run("ip", "netns", "delete", self.name)


def raw_socket(interface: str) -> socket.socket:
    raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
    raw.setsockopt(SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
    raw.bind((interface, 0))
    raw.settimeout(TIMEOUT)
    return raw


def command_of(binary: str, namespace: Namespace, program: Program) -> list[str]:
    """How to start BMv2 in the namespace, without what it is to do there."""
    ports = [f"-i{port}@port{port}" for port in range(LOOP + 2)]
    address = f"ipc://{program.json.parent}/{namespace.name}.ipc"
    return [
        *(*namespace.inside, binary, *ports),
        *("--thrift-port", str(THRIFT_PORT)),
        *("--device-id", str(os.getpid()), "--notifications-addr", address),
    ]


@contextlib.contextmanager
def process(*command: str) -> Iterator[None]:
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        try:
            yield
        finally:
            process.kill()  # `ip netns exec` has become the switch itself


@contextlib.contextmanager
def by_thrift(namespace: Namespace, program: Program) -> Iterator[SimpleSwitch]:
    """`simple_switch` in the namespace, and its command line."""
    command = command_of("simple_switch", namespace, program)
    with process(*command, str(program.json)), connect(namespace) as tables:
        yield tables


@contextlib.contextmanager
def by_p4runtime(namespace: Namespace, program: Program) -> Iterator[P4Runtime]:
    """`simple_switch_grpc` in the namespace. Unix sockets reach into it."""
    from switch.p4runtime import P4Runtime

    command = command_of("simple_switch_grpc", namespace, program)
    address = f"unix:{program.json.parent}/{namespace.name}.grpc"
    files = program.json, program.p4info
    with (
        process(*command, "--no-p4", "--", "--grpc-server-addr", address),
        P4Runtime(address, *files, os.getpid(), timeout=TIMEOUT) as tables,
    ):
        yield tables


def connect(namespace: Namespace) -> SimpleSwitch:
    """Wait for the switch to listen."""
    deadline = time.monotonic() + TIMEOUT
    while True:
        try:
            return SimpleSwitch(THRIFT_PORT, [*namespace.inside, CLI])
        except SimpleSwitchError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)


STRANGER_MAC = 0x02_00_00_00_FE_01
MARKER_MAC = 0x02_00_00_00_FD_00


@dataclass(frozen=True)
class Marker:
    """A frame that the switch sends back to the port that it came from."""

    sent: bytes
    returned_to: bytes


# Answered at once.
MARKER = Marker(
    frames.arp_request(End(MARKER_MAC, "10.254.0.1"), SWITCH.address),
    MARKER_MAC.to_bytes(6, "big"),
)


def loop_marker(port: int) -> Marker:
    """Routed out of the loop's port, so behind whatever is in the loop; what comes back
    is switched to where it began."""
    mac = MARKER_MAC + 1 + port
    datagram = frames.Udp(
        End(mac, "10.254.0.1", 1), End(SWITCH.mac, loop_address(port), 1), b""
    )
    return Marker(datagram.frame(), mac.to_bytes(6, "big"))


def loop_address(port: int) -> str:
    return f"10.254.1.{port}"


def loop_marker_entries(port: int) -> list[Entry]:
    mac = MARKER_MAC + 1 + port
    route = f"{p4_tables.number_of(loop_address(port))}/32"
    return [
        Entry(
            p4_tables.ROUTES, (route,), "SwitchIngress.forward.to_hop",
            (LOOP, SWITCH.mac, mac),
        ),
        p4_tables.station_entry(Station(mac, port)),
    ]  # fmt: skip


class Bmv2:
    """A running switch that takes one configuration after the other."""

    def __init__(self, namespace: Namespace, tables: SimpleSwitch | P4Runtime) -> None:
        self.namespace = namespace
        self.tables = tables
        self.stations: dict[str, Station] = {}

    def configure(self, config: SwitchConfig) -> None:
        """Forget everything, and begin as `config` says."""
        self.tables.reset()
        self.stations = stations_of(config)
        for entry in p4_tables.own_entries(SWITCH.address, SWITCH.mac):
            self.tables.insert(entry)
        for port in range(NUM_PORTS):
            for entry in loop_marker_entries(port):
                self.tables.insert(entry)
        self.dataplane = P4Dataplane(self.tables, config, self.stations, LOOP)

    def counters(self, job: int | None = None) -> dict[str, int]:
        return self.dataplane.counters(job)

    def reset(self, job: int) -> None:
        self.dataplane.reset(job)

    def process(self, datagrams: list[Datagram]) -> list[Datagram]:
        """What leaves the switch because of these packets, port by port."""
        received: list[list[bytes]] = [[] for _ in range(NUM_PORTS)]
        for port, may_grow, burst in self.bursts(datagrams):
            for packet, address in burst:
                self.send(port, frames.Udp(self.end(address), SWITCH, packet).frame())
            for _ in range(LOOP_PASSES if may_grow else 0):
                received[port] += self.await_marker(port, loop_marker(port))
            received[port] += self.await_marker(port, MARKER)
        for port in range(NUM_PORTS):  # what is on its way to the other ports
            received[port] += self.await_marker(port, MARKER)
        return [
            self.check(frame, port)
            for port, frames_of_port in enumerate(received)
            for frame in frames_of_port
        ]

    def bursts(
        self, datagrams: list[Datagram]
    ) -> Iterator[tuple[int, bool, list[Datagram]]]:
        """Packets that can be sent at once and still arrive in order: from one port,
        few enough, and none behind one that may go through the loop (True)."""
        widest = self.dataplane.config.slot_bytes
        burst: list[Datagram] = []
        for datagram in datagrams:
            packet, address = datagram
            if burst and self.place(burst[0][1]).port != self.place(address).port:
                yield self.place(burst[0][1]).port, False, burst
                burst = []
            burst.append(datagram)
            may_grow = len(packet) + GROWTH < HEADER_BYTES + widest
            if may_grow or len(burst) == BURST:
                yield self.place(address).port, may_grow, burst
                burst = []
        if burst:
            yield self.place(burst[0][1]).port, False, burst

    def place(self, address: Address) -> Station:
        return self.stations.get(address[0], Station(STRANGER_MAC, 0))

    def end(self, address: Address) -> End:
        return End(self.place(address).mac, *address)

    def send(self, port: int, frame: bytes) -> None:
        self.namespace.sockets[port].send(frame)

    def receive(self, port: int) -> bytes:
        return self.namespace.sockets[port].recv(1 << 16)

    def await_marker(self, port: int, marker: Marker) -> list[bytes]:
        """What the switch says at a port before it returns a marker: all that it has to
        say to the packets before it, for it handles what comes in at a port in order.
        """
        self.send(port, marker.sent)
        received = []
        while True:
            frame = self.receive(port)
            if frame[:6] == marker.returned_to:
                return received
            received.append(frame)

    def check(self, frame: bytes, port: int) -> Datagram:
        """A frame out of the switch as packet and receiver, all headers verified."""
        source, destination, packet = frames.read_udp(frame)
        assert source == SWITCH
        address = (destination.address, destination.port)
        assert self.place(address) == Station(destination.mac, port)
        return packet, address


def stations_of(config: SwitchConfig) -> dict[str, Station]:
    """Hosts spread over the ports, so that some of them share one."""
    addresses = [address for job in config.jobs for address, _ in bound_addresses(job)]
    return {
        address: Station(0x02_00_00_00_00_00 + number, number % NUM_PORTS)
        for number, address in enumerate(dict.fromkeys(addresses))
    }


@contextlib.contextmanager
def running(
    start: Callable[
        [Namespace, Program], AbstractContextManager[SimpleSwitch | P4Runtime]
    ],
    program: Program,
) -> Iterator[Bmv2]:
    """BMv2 with the program, in a namespace of its own."""
    with (
        contextlib.closing(Namespace()) as namespace,
        start(namespace, program) as tables,
    ):
        yield Bmv2(namespace, tables)


def by_receiver(datagrams: list[Datagram]) -> list[Datagram]:
    """In the order of receivers; to each of them in the order sent."""
    return sorted(datagrams, key=lambda datagram: datagram[1])
