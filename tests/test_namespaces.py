"""Network namespaces: whoever is killed, none of them is left behind."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

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
