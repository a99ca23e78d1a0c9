"""Trainings through trees of emulated switches, in processes and in namespaces: bad
links change nothing, and nothing of the network is left behind."""

import os
from contextlib import suppress
from pathlib import Path

import pytest

from intswitch.experiment import Training
from intswitch.fabrics import find_fabric, open_fabric
from intswitch.topology import load
from intswitch.train import run

pytest.importorskip("torch")
pytest.importorskip("pyroute2")

SHORT = Training(workload="digits", compressor="intsgd", steps=5, evaluations=1)
BAD = """
switches: {top: {}, left: {}}
hosts: [a, b, c]
links:
  - {between: [top, left], burst_enter: 0.02, burst_leave: 0.3, delay: 100 us}
  - {between: [a, left], rate: 200 Mbit/s, duplication: 0.1}
  - {between: [left, b], reordering: 0.1, toward: {b: {loss: 0.1}}}
  - {between: [top, c], corruption: 0.1}
jobs:
  - {name: j, workers: [a, b, c], num_slots: 64, slot_bytes: 256}
"""


FABRIC = "loopback" if find_fabric("netns").missing() else "netns"


def namespaces() -> list[str]:
    folder = Path("/run/netns")
    names = os.listdir(folder) if folder.exists() else []
    return [name for name in names if name.startswith(f"intswitch-{os.getpid()}-")]


def test_bad_links_in_a_tree_and_an_interrupt(tmp_path: Path) -> None:
    """A training checks that its weights agree, and its switch's counters."""
    path = tmp_path / "bad.yaml"
    path.write_text(BAD if FABRIC == "netns" else BAD.replace("rate: 200 Mbit/s, ", ""))
    topology = load(str(path))
    with (
        suppress(KeyboardInterrupt),
        open_fabric(FABRIC, topology, lambda text: None) as opened,
    ):
        assert len(namespaces()) == (5 if FABRIC == "netns" else 0)
        result = run(opened, SHORT)
        raise KeyboardInterrupt
    assert result.total("retransmissions") > 0
    assert not any(child.process.poll() is None for child in opened.processes)
    assert namespaces() == []
