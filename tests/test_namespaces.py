"""Network namespaces: whoever is killed, none of them is left behind."""

import contextlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("pyroute2")

from intswitch.fabrics.namespaces import End, Namespaces

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")

FOLDER = Path("/run/netns")
SOON = 20.0  # seconds
OWNER = """
import sys, time
from intswitch.fabrics.namespaces import Namespaces
namespaces = Namespaces()
print(namespaces.prefix, flush=True)
for number in range(int(sys.argv[1])):
    namespaces.add(f"host{number}")
print("made", flush=True)
time.sleep(60)
"""


def named(prefix: str) -> set[str]:
    return {name for name in os.listdir(FOLDER) if name.startswith(f"{prefix}-")}


def comes_true(condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + SOON
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.02)
    return False


@pytest.fixture
def namespaces() -> Namespaces:
    return Namespaces()


@pytest.fixture
def pair() -> Iterator[Namespaces]:
    """Two hosts, one cable."""
    with contextlib.closing(Namespaces()) as namespaces:
        for name in ("one", "other"):
            namespaces.add(name)
        namespaces.connect(
            End("one", "eth0", "10.0.0.1"), End("other", "eth0", "10.0.0.2")
        )
        yield namespaces


def queues(namespaces: Namespaces, name: str) -> list[dict[str, Any]]:
    """Kind, and what else is known, of eth0's."""
    with namespaces.opened(name) as stack:
        (index,) = stack.link_lookup(ifname="eth0")
        found = [each for each in stack.get_qdiscs() if each["index"] == index]
        return [
            {"kind": each.get_attr("TCA_KIND"), "options": each.get_attr("TCA_OPTIONS")}
            for each in found
        ]


def round_trip(namespaces: Namespaces) -> float:
    """Seconds that a datagram is under way from one to the other and back, the least of
    some."""
    with contextlib.ExitStack() as stack:
        sockets = []
        for name, address in (("one", "10.0.0.1"), ("other", "10.0.0.2")):
            with namespaces.opened(name):
                sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            stack.enter_context(sock)
            sock.bind((address, 9))
            sock.settimeout(SOON)
            sockets.append(sock)
        one, other = sockets
        found = []
        for _ in range(5):
            began = time.monotonic()
            one.sendto(b"there", ("10.0.0.2", 9))
            other.sendto(other.recv(10), ("10.0.0.1", 9))
            one.recv(10)
            found.append(time.monotonic() - began)
    return min(found)


def test_a_cable_has_a_rate_and_a_queue(pair: Namespaces) -> None:
    pair.shape(End("one", "eth0"), rate=1e9)
    pair.shape(End("other", "eth0"), rate=8e6, queue=200_000)
    fast, slow = (queues(pair, name) for name in ("one", "other"))
    assert [each["kind"] for each in fast + slow] == ["tbf", "tbf"]
    fast, slow = (each[0]["options"].get_attr("TCA_TBF_PARMS") for each in (fast, slow))
    assert (fast["rate"], slow["rate"]) == (125_000_000, 1_000_000)
    # 50 ms of it, and a burst
    assert fast["limit"] == pytest.approx(125_000_000 * 0.05 + 125_000)
    assert slow["limit"] == 200_000


def test_a_cable_has_a_delay_each_way(pair: Namespaces) -> None:
    if not pair.can_delay("one"):
        pytest.skip("this kernel has no netem")
    pair.shape(End("one", "eth0"), delay=0.02)
    pair.shape(End("other", "eth0"), delay=0.01, rate=1e9, queue=200_000)
    kinds = [[each["kind"] for each in queues(pair, name)] for name in ("one", "other")]
    assert kinds == [["netem"], ["netem", "tbf"]]
    assert 0.03 <= round_trip(pair) < 0.3
    tbf = queues(pair, "other")[1]["options"].get_attr("TCA_TBF_PARMS")
    assert tbf["limit"] == 200_000


def test_they_are_connected_and_removed(namespaces: Namespaces) -> None:
    try:
        for name in ("host", "switch"):
            namespaces.add(name)
        assert len(named(namespaces.prefix)) == 2
        namespaces.connect(End("host", "eth0", "10.0.0.1"), End("switch", "port0"))
        command = [*namespaces.enter("host"), "ip", "-brief", "address"]
        shown = subprocess.check_output(command, text=True)
        assert "10.0.0.1/24" in shown
    finally:
        namespaces.close()
    assert named(namespaces.prefix) == set()
    namespaces.close()


def test_one_that_cannot_be_made_is_named(namespaces: Namespaces) -> None:
    try:
        namespaces.add("host")
        with pytest.raises(OSError, match="network namespaces: host: File exists"):
            namespaces.add("host")
        namespaces.add("other")
    finally:
        namespaces.close()


def test_who_makes_them_is_killed(namespaces: Namespaces) -> None:
    namespaces.add("host")
    namespaces._keeper.kill()
    namespaces._keeper.wait()
    with pytest.raises(OSError, match="the process that makes them has ended"):
        namespaces.add("other")
    assert named(namespaces.prefix)
    namespaces.close()
    assert named(namespaces.prefix) == set()


@pytest.mark.parametrize("wait_for", [1, 2], ids=["at work", "done"])
def test_who_wants_them_is_killed(wait_for: int) -> None:
    """Also while one is being made."""
    command = [sys.executable, "-c", OWNER, "3" if wait_for == 2 else "100"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout
        prefix, *_ = [owner.stdout.readline().strip() for _ in range(wait_for)]
        assert comes_true(lambda: len(named(prefix)) >= 3)
        owner.kill()
    assert comes_true(lambda: not named(prefix))
    assert comes_true(lambda: not keepers(prefix)), "and more would follow"
    assert not named(prefix)


def keepers(prefix: str) -> list[Path]:
    found = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if prefix.encode() in file.read_bytes():
                found.append(file)
        except OSError:
            continue
    return found
