"""Trainings through trees of emulated switches, in processes and in namespaces: bad
links change nothing, and nothing of the network is left behind."""

import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from intswitch.experiment import Training
from intswitch.fabrics import find_fabric, open_fabric
from intswitch.switch_process import Switch
from intswitch.topology import Topology, load
from intswitch.train import run

pytest.importorskip("torch")
pytest.importorskip("pyroute2")

from intswitch.fabrics.namespaces import End, Namespaces
from intswitch.fabrics.netns import Netns

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


def topology_of(folder: Path, text: str) -> Topology:
    path = folder / "net.yaml"
    path.write_text(text)
    return load(str(path))


@pytest.mark.skipif(FABRIC != "netns", reason="needs root")
@pytest.mark.parametrize("has_netem", [True, False])
def test_who_delays_packets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, has_netem: bool
) -> None:
    """The cables, where the kernel can; else the switch at its ports. Not both."""
    text = BAD.replace(
        "duplication: 0.1",
        "duplication: 0.1, toward: {a: {delay: 1 ms}}, queue: 1 MB",
    )
    shaped: dict[str, float] = {}
    queues: dict[str, tuple[float, float | None]] = {}

    def shape(self: Any, end: End, *, delay: float, rate: Any, queue: Any) -> None:
        name = f"{end.namespace} {end.interface}"
        shaped[name] = delay
        if rate is not None:
            queues[name] = (rate, queue)

    monkeypatch.setattr(Namespaces, "can_delay", lambda self, name: has_netem)
    monkeypatch.setattr(
        Namespaces,
        "shape",
        shape,
    )
    said: list[str] = []
    faults: list[dict[str, Any]] = []
    fabric = Netns(topology_of(tmp_path, text), status=said.append, worker=["cat"])
    monkeypatch.setattr(
        Switch, "start", lambda self: faults.append(self.options["faults"])
    )
    with fabric:
        pass
    delays = {name: delay for name, delay in shaped.items() if delay}
    if has_netem:
        assert delays == pytest.approx(
            {"top port0": 1e-4, "left port0": 1e-4, "left port1": 1e-3}
        )
    else:
        assert delays == {}
    assert any("no netem" in text for text in said) == (not has_netem)
    assert queues == {"a eth0": (2e8, None), "left port1": (2e8, 1e6)}
    told = json.dumps(faults)
    assert ("delay" in told) == (not has_netem)
    assert "duplication" in told


@pytest.mark.parametrize(
    ("link", "reason"),
    [
        ("queue: 1 MB", "has queues where links have a rate"),
        ("rate: 1 Gbit/s, queue: 64 kB", "sends up to 64 KiB at once"),
        ("rate: 1 Gbit/s, queue: 5000 MB", "has queues of 4 GiB at most"),
    ],
)
def test_queues_that_no_cable_has(tmp_path: Path, link: str, reason: str) -> None:
    topology = topology_of(tmp_path, BAD.replace("delay: 100 us", link))
    with pytest.raises(ValueError, match=f"links.0.queue .* netns fabric {reason}"):
        Netns(topology)


@pytest.mark.parametrize("rate", ["0 bit/s", "1 kbit/s", "100 Gbit/s"])
def test_rates_that_no_cable_has(tmp_path: Path, rate: str) -> None:
    topology = topology_of(tmp_path, BAD.replace("delay: 100 us", f"rate: {rate}"))
    with pytest.raises(ValueError, match=r"links.0.rate .* 2 kbit/s to 34 Gbit/s"):
        Netns(topology)
