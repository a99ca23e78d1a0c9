"""Trainings with BMv2 in the middle: the weights are the emulator's, and nothing of the
network is left behind.
"""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest

from intswitch.experiment import Result, Training
from intswitch.fabrics import find_fabric, open_fabric
from intswitch.fabrics.course import FabricError
from intswitch.topology import Topology, load
from intswitch.train import Silent, run, run_jobs

pytest.importorskip("torch")
pytest.importorskip("pyroute2")

SHORT = Training(workload="digits", compressor="intsgd", steps=15, evaluations=1)
SOON = 20.0  # seconds


def needs(fabric: str) -> pytest.MarkDecorator:
    reasons = find_fabric(fabric).missing()
    return pytest.mark.skipif(bool(reasons), reason="; ".join(reasons))


BMV2 = pytest.param("bmv2", marks=needs("bmv2"))
P4RUNTIME = pytest.param("bmv2-p4runtime", marks=needs("bmv2-p4runtime"))
MININET = pytest.param("mininet", marks=needs("mininet"))


def silent(text: str) -> None:
    pass


def train(fabric: str, topology: Topology, training: Training = SHORT) -> Result:
    with open_fabric(fabric, topology, silent) as opened:
        return run(opened, training)


@cache
def weights_of_the_emulator() -> str:
    return train("loopback", load("pair")).workers[0].weights


def left_behind() -> set[str]:
    """Network namespaces, and interfaces of this one."""
    folder = Path("/run/netns")
    spaces = os.listdir(folder) if folder.exists() else []
    ours = {name for name in spaces if name.startswith("intswitch-")}
    return ours | {f"interface {name}" for name in os.listdir("/sys/class/net")}


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    before = {name for name in left_behind() if str(os.getpid()) in name}
    yield
    after = {name for name in left_behind() if str(os.getpid()) in name}
    assert after <= before


@pytest.mark.parametrize("fabric", [P4RUNTIME])
def test_two_jobs_at_once_and_loss_change_nothing(fabric: str) -> None:
    """Each has the weights of the emulator's."""
    star = load("star").with_loss(0.02)
    (job,) = star.jobs
    hosts = star.hosts
    jobs = tuple(
        job.model_copy(update={"name": name, "workers": workers, "num_slots": 64})
        for name, workers in (("red", hosts[:2]), ("blue", hosts[2:]))
    )
    both = star.model_copy(update={"jobs": jobs})
    with open_fabric(fabric, both, silent) as opened:
        results: list[Result] = []
        run_jobs(opened, SHORT, [Silent(), Silent()], [results.append] * 2)
    weights = [result.workers[1].weights for result in results]
    assert weights == [weights_of_the_emulator()] * 2


@pytest.mark.parametrize("fabric", [MININET])
def test_the_weights_are_the_emulator_s(fabric: str) -> None:
    result = train(fabric, load("pair"))
    assert result.workers[0].weights == weights_of_the_emulator()


@pytest.mark.parametrize("fabric", [BMV2])
def test_codes_of_eight_bits_are_looked_up(fabric: str) -> None:
    """The workers join with a table of 256 integers."""
    options = {"wire": "codes"}
    codes = replace(SHORT, compressor="fastsgd", steps=5, options=options)
    result = train(fabric, load("pair"), codes)
    emulated = train("loopback", load("pair"), codes)
    assert result.workers[0].weights == emulated.workers[0].weights


@pytest.mark.parametrize("fabric", [BMV2])
def test_gloo_runs_beside_it(fabric: str) -> None:
    """Through the P4 program's forwarding."""
    exact = Training(workload="digits", compressor="exact", steps=15, evaluations=1)
    result = train(fabric, load("pair"), exact)
    emulated = train("loopback", load("pair"), exact)
    assert result.workers[0].weights == emulated.workers[0].weights


@needs("bmv2")
def test_a_killed_switch_is_named() -> None:
    long = Training(workload="digits", compressor="intsgd", steps=10**6, evaluations=1)
    with open_fabric("bmv2", load("pair"), silent) as fabric:
        (switch,) = [child for child in fabric.others if child.name == "BMv2"]

        def kill(rank: int, event: dict[str, object]) -> None:
            if event["event"] == "step":
                switch.process.kill()

        with pytest.raises(FabricError, match="BMv2 was killed by SIGKILL"):
            fabric.train(long, kill)


@needs("bmv2")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_signal_to_the_parent_takes_all_down(number: signal.Signals) -> None:
    words = "train -w digits --topology pair --steps 100000 --evaluations 10000"
    command = [sys.executable, "-P", "-m", "intswitch", *words.split()]
    with subprocess.Popen(
        [*command, "--fabric", "bmv2"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as parent:
        assert parent.stdout is not None
        assert any(line.startswith("step ") for line in parent.stdout)
        mine = f"intswitch-{parent.pid}-"
        assert any(name.startswith(mine) for name in os.listdir("/run/netns"))
        parent.send_signal(number)
        parent.communicate(timeout=SOON)
    deadline = time.monotonic() + SOON
    while time.monotonic() < deadline and what_is_left(parent.pid):
        time.sleep(0.05)
    assert not what_is_left(parent.pid)


def what_is_left(parent: int) -> list[str]:
    """Namespaces, processes and folders of a parent that has ended."""
    mine = f"intswitch-{parent}-"
    spaces = [name for name in os.listdir("/run/netns") if name.startswith(mine)]
    folders = Path(tempfile.gettempdir()).glob(f"intswitch-bmv2-{parent}-*")
    return [*spaces, *processes_in(mine), *map(str, folders)]


def processes_in(prefix: str) -> list[str]:
    """Command lines that name a namespace or a folder of the fabric's."""
    found = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = file.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if prefix in line and "pytest" not in line:
            found.append(line)
    return found
