"""Processes that end, by whatever cause: the others say who, and none stays behind."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from intswitch.child import Child, python
from intswitch.experiment import Training
from intswitch.fabrics.bmv2 import Bmv2
from intswitch.fabrics.course import LAST_WORDS, Event, FabricError
from intswitch.fabrics.fabric import refuse
from intswitch.fabrics.loopback import Loopback
from intswitch.fabrics.sim import Sim
from intswitch.topology import LinkPart, load

LONG = Training(
    workload="digits", compressor="intsgd", steps=100_000, evaluations=100_000
)
SOON = 8.0
"""Seconds. The dead worker's stream breaks within 2; then come the last words."""


def after_some_steps(action: Callable[[], None]) -> Callable[[int, Event], None]:
    def listen(rank: int, event: Event) -> None:
        if event["event"] == "step" and event["step"] == 5:
            action()

    return listen


def test_killed_switch_is_named_by_all() -> None:
    """A killed worker: see `test_jobs_at_once`."""
    pytest.importorskip("torch")
    killed: list[float] = []
    with Loopback(load("pair")) as fabric:
        processes = [child.process for child in fabric.processes]
        assert len(processes) == 3

        def kill() -> None:
            killed.append(time.monotonic())
            fabric.switches["switch1"].child.process.kill()

        with pytest.raises(FabricError) as caught:
            fabric.train(LONG, after_some_steps(kill))
        seconds = time.monotonic() - killed[0]
    assert all(process.poll() is not None for process in processes)
    cause, *consequences = str(caught.value).splitlines()
    assert cause == "the switch was killed by SIGKILL"
    assert [line[:10] for line in sorted(consequences)] == ["worker 0: ", "worker 1: "]
    assert all("switch" in line for line in consequences)
    assert seconds < SOON


class InTwoParts(Loopback):
    """A data plane, and a control plane that is reached through it. The emulated switch
    stands for the latter."""

    def start(self) -> None:
        folder = tempfile.mkdtemp()
        command = python("intswitch.tether", folder, "sleep", "60")
        self.dataplane = Child("BMv2", command)
        super().start()

    @property
    def others(self) -> list[Child]:
        return [self.dataplane, *super().others]

    @property
    def data_planes(self) -> list[Child]:
        return [self.dataplane]

    def stop(self) -> None:
        self.dataplane.close()
        super().stop()


def test_a_killed_data_plane_is_named_at_once() -> None:
    """Its control plane lives, so that the workers notice nothing."""
    pytest.importorskip("torch")
    killed: list[float] = []

    def kill() -> None:
        killed.append(time.monotonic())
        (switch,) = descendants(fabric.dataplane.process.pid)
        os.kill(switch, signal.SIGKILL)

    with InTwoParts(load("pair")) as fabric, pytest.raises(FabricError) as caught:
        fabric.train(LONG, after_some_steps(kill))
    seconds = time.monotonic() - killed[0]
    assert str(caught.value) == "BMv2 was killed by SIGKILL"
    assert seconds < LAST_WORDS


def descendants(pid: int) -> list[int]:
    listed = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    children = [int(child) for child in listed]
    return children + [below for child in children for below in descendants(child)]


def alive(pid: int) -> bool:
    try:
        status = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return status != "Z"


@pytest.mark.parametrize(
    ("number", "status"),
    [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -9)],
)
def test_signal_to_the_parent_ends_all(number: signal.Signals, status: int) -> None:
    pytest.importorskip("torch")
    words = "train -w digits --topology pair --steps 100000 --evaluations 10000"
    command = [sys.executable, "-P", "-m", "intswitch", *words.split()]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        assert any(line.startswith("step ") for line in parent.stdout)
        children = descendants(parent.pid)
        assert len(children) == 3
        parent.send_signal(number)
        _, errors = parent.communicate(timeout=SOON)
    assert parent.returncode == status
    assert errors == ("interrupted\n" if number == signal.SIGINT else "")
    deadline = time.monotonic() + SOON
    while any(map(alive, children)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not [pid for pid in children if alive(pid)]


def test_worker_that_gives_up_says_why() -> None:
    pytest.importorskip("torch")
    with Loopback(load("pair")) as fabric, pytest.raises(FabricError) as caught:
        fabric.train(Training(workload="imagenet", compressor="exact"), print)
    lines = str(caught.value).splitlines()
    assert any("workload: 'imagenet' is none of mnist" in line for line in lines)


def test_refuses_what_it_cannot_do() -> None:
    pair = load("pair")
    first = pair.links[0].model_copy(update={"rate": 1e9, "delay": 1e-3, "loss": 0.5})
    other = pair.model_copy(update={"links": (first, pair.links[1])})
    with pytest.raises(ValueError, match=r"^links\.0\.rate: the loopback fabric canno"):
        refuse(other, "loopback", Loopback.cannot)
    with pytest.raises(ValueError, match=r"links\.0\.rate: the bmv2") as caught:
        refuse(other, "bmv2", Bmv2.cannot)
    delay, _, loss = str(caught.value).splitlines()
    assert delay == "links.0.delay: the bmv2 fabric cannot do this; sim and netns can"
    assert loss == "links: the bmv2 fabric has one loss for all links, not 0.0, 0.5"


def test_refuses_two_switches_and_two_jobs() -> None:
    pair = load("pair")
    job = pair.jobs[0]
    two = pair.model_copy(
        update={
            "switches": {**pair.switches, "switch2": pair.switches["switch1"]},
            "links": (*pair.links, LinkPart(between=("switch1", "switch2"))),
            "jobs": (job, job.model_copy(update={"name": "other"})),
        }
    )
    with pytest.raises(ValueError, match="has one, not 2") as caught:
        refuse(two, "bmv2", Bmv2.cannot, several=False)
    assert "jobs: the bmv2 fabric runs one, not 2 (training, oth" in str(caught.value)
    with pytest.raises(ValueError, match="has one, not 2") as caught:
        refuse(two, "bmv2", Bmv2.cannot)
    assert "jobs" not in str(caught.value)
    late = pair.model_copy(update={"jobs": (job.model_copy(update={"start": 2.0}),)})
    with pytest.raises(ValueError, match=r"jobs\.0\.start: the sim fabric cannot do"):
        refuse(late, "sim", Sim.cannot, several=Sim.several)


def test_children_are_not_in_the_parents_session() -> None:
    """Or Ctrl-C at a terminal would reach them, too, and they would complain."""
    from intswitch.child import Child, python

    child = Child("child", python("intswitch", "--version"))
    try:
        assert os.getsid(child.process.pid) != os.getsid(0)
    finally:
        child.close()
