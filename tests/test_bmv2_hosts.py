"""Two hosts with the kernel's own network stack at the ports of BMv2: they ping, talk
to each other, and aggregate over plain UDP sockets.
"""

import contextlib
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from bmv2 import (
    LOOP,
    SWITCH,
    THRIFT_TOOLS,
    Bmv2,
    Namespace,
    Program,
    by_thrift,
    missing,
    run,
    running,
)
from traffic import contribution, values_of

from switch import p4_tables
from switch.config import JobConfig, SwitchConfig
from switch.p4_dataplane import P4Dataplane
from switch.p4_tables import Replica, Station

FLOOD_GROUP = 1000
FIRST_PORT = 10
HOSTS = {"10.255.0.11": 0x02_00_00_00_CC_01, "10.255.0.12": 0x02_00_00_00_CC_02}
JOB = JobConfig(
    job=7,
    workers=tuple((address, 5000) for address in HOSTS),
    num_slots=8,
    slot_bytes=1024,
)
STATIONS = {
    address: Station(mac, FIRST_PORT + number)
    for number, (address, mac) in enumerate(HOSTS.items())
}

# Sends a packet in hexadecimal and prints the answer.
WORKER = """
import socket, sys
worker = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
worker.bind((sys.argv[1], 5000))
worker.settimeout(10)
for packet in sys.argv[3:]:
    worker.sendto(bytes.fromhex(packet), (sys.argv[2], 48864))
    print(worker.recv(2048).hex(), flush=True)
"""

# Like ping(8), which is not everywhere. The kernel of the receiver drops what is wrong.
PING = """
import socket, struct, sys
raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
raw.settimeout(10)
data = bytes(range(256)) * 4
words = struct.unpack("!516H", struct.pack("!BBHHH", 8, 0, 0, 77, 1) + data)
checksum = ~(sum(words) % 0xFFFF) & 0xFFFF
raw.sendto(struct.pack("!BBHHH", 8, 0, checksum, 77, 1) + data, (sys.argv[1], 0))
while True:
    packet, (sender, _) = raw.recvfrom(2048)
    reply = packet[20:]
    if sender == sys.argv[1] and reply[0] == 0:
        break
assert reply[4:] == struct.pack("!HH", 77, 1) + data
assert sum(struct.unpack("!516H", reply)) % 0xFFFF == 0, "checksum"
"""


class Host:
    """A network namespace with an address, wired to a new port of the switch."""

    def __init__(self, switch: Bmv2, address: str) -> None:
        self.address = address
        self.name = f"{switch.namespace.name}-{address.rsplit('.')[-1]}"
        self.port = STATIONS[address].port
        run("ip", "netns", "add", self.name)
        try:
            self._connect(switch.namespace)
            switch.tables.run(f"port_add host-port{self.port} {self.port}")
        except BaseException:
            self.close()
            raise

    def _connect(self, namespace: Namespace) -> None:
        theirs = f"host-port{self.port}"
        mac = ":".join(
            f"{HOSTS[self.address]:012x}"[at : at + 2] for at in range(0, 12, 2)
        )
        ours = ["eth0", "address", mac, "netns", self.name]
        run(
            "ip",
            "link",
            "add",
            theirs,
            "netns",
            namespace.name,
            "type",
            "veth",
            "peer",
            *ours,
        )
        run(*namespace.inside, "ip", "link", "set", theirs, "up")
        run(*namespace.inside, "ethtool", "-K", theirs, "tx", "off")
        self.run("ethtool", "-K", "eth0", "tx", "off", "tso", "off", "gso", "off")
        self.run("ip", "address", "add", f"{self.address}/24", "dev", "eth0")
        self.run("ip", "link", "set", "eth0", "up")

    def run(self, *command: str) -> str:
        inside = ["ip", "netns", "exec", self.name, *command]
        done = subprocess.run(inside, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def close(self) -> None:
        run("ip", "netns", "delete", self.name)


@pytest.fixture(scope="module")
def bmv2(program: Program) -> Iterator[Bmv2]:
    """One that ends with its ports. To remove a port would do, but BMv2 1.15 can hang
    there: who removes it holds a lock, and waits for a thread that waits for that."""
    reason = missing(THRIFT_TOOLS)
    if reason:
        pytest.skip(f"BMv2: {reason}")
    with running(by_thrift, program) as switch:
        yield switch


@pytest.fixture(scope="module")
def hosts(bmv2: Bmv2) -> Iterator[list[Host]]:
    with contextlib.ExitStack() as stack:
        yield [
            stack.enter_context(contextlib.closing(Host(bmv2, address)))
            for address in HOSTS
        ]


@pytest.fixture(autouse=True)
def job(bmv2: Bmv2) -> P4Dataplane:
    bmv2.tables.reset()
    ports = [Replica(0, station.port) for station in STATIONS.values()]
    bmv2.tables.insert_group(FLOOD_GROUP, ports)
    entries = [
        *p4_tables.own_entries(SWITCH.address, SWITCH.mac),
        p4_tables.flood_entry(FLOOD_GROUP),
        *(p4_tables.station_entry(station) for station in STATIONS.values()),
    ]
    for entry in entries:
        bmv2.tables.insert(entry)
    config = SwitchConfig(num_slots=8, jobs=(JOB,))
    return P4Dataplane(bmv2.tables, config, STATIONS, LOOP)


def test_hosts_ping_each_other_and_the_switch(hosts: list[Host]) -> None:
    one, other = hosts
    for target in (other.address, SWITCH.address):
        one.run("python3", "-c", PING, target)


def test_hosts_aggregate(hosts: list[Host], job: P4Dataplane) -> None:
    """The kernel verifies the checksums of what it hands to a socket."""
    chunks = range(4)
    values = [[sequence, 1, -5] * 80 for sequence in chunks]

    def aggregate(rank: int) -> list[list[int]]:
        packets = [
            contribution(JOB, rank, sequence, values[sequence])[0].hex()
            for sequence in chunks
        ]
        command = ["python3", "-c", WORKER, hosts[rank].address, SWITCH.address]
        answers = hosts[rank].run(*command, *packets).split()
        return [values_of(bytes.fromhex(answer)) for answer in answers]

    with ThreadPoolExecutor() as pool:
        both = list(pool.map(aggregate, range(2)))
    assert both == [[[2 * value for value in chunk] for chunk in values]] * 2
    counters = job.counters()
    assert (counters["accepted"], counters["results"], counters["copies"]) == (8, 4, 8)
    assert sum(counters.values()) == 8 + 4 + 8


def test_hosts_talk_tcp_beside_it(hosts: list[Host]) -> None:
    """As gloo does."""
    server = (
        "import socket; s = socket.create_server(('10.255.0.12', 7000)); "
        "print(flush=True); c, _ = s.accept(); n = 0\n"
        "while data := c.recv(65536): n += len(data)\n"
        "print(n)"
    )
    client = (
        "import socket; s = socket.create_connection(('10.255.0.12', 7000), 10); "
        "s.sendall(bytes(300000))"
    )
    inside = ["ip", "netns", "exec", hosts[1].name, "python3", "-c", server]
    with subprocess.Popen(inside, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            process.stdout.readline()
            hosts[0].run("python3", "-c", client)
            assert process.stdout.readline() == "300000\n"
        finally:
            process.kill()
