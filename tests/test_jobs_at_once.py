"""Several jobs of a topology train at the same time, and do not disturb each other."""

import io
import sys
import time
from collections.abc import Callable
from contextlib import closing, nullcontext
from dataclasses import replace
from pathlib import Path
from threading import Lock
from typing import Any

import pytest
from results import result
from rich.console import Console

from intswitch import compare
from intswitch.child import Child
from intswitch.compare import folder_of, run_at_once
from intswitch.experiment import Result, Training
from intswitch.fabrics import course
from intswitch.fabrics.course import Event, FabricError
from intswitch.fabrics.loopback import Loopback
from intswitch.methods import Method
from intswitch.switch_process import Switch
from intswitch.topology import Topology, load
from intswitch.train import Silent, run_jobs

SHORT = Training(workload="digits", compressor="intsgd", steps=5, evaluations=1)
LONGER = replace(SHORT, steps=40)
SOON = 8.0
"""Seconds. The dead worker's stream breaks within 2; then come the last words."""
TWO = """
switches: {s: {}}
hosts: [a, b]
links: [{between: [a, s]}, {between: [b, s]}]
jobs:
  - {name: red, workers: [a]}
  - {name: blue, workers: [b, a], num_slots: 64, slot_bytes: 256}
"""
OBEDIENT = """
import json, sys, time
for line in sys.stdin:
    task = json.loads(line)
    if task["task"] == "warm_up":
        print('{"event": "warm"}', flush=True)
    elif task["training"]["workload"] != "blue dies" or task["join"]["rank"] == 0:
        event = {"event": "finished", "at": time.monotonic(), **task["join"]}
        print(json.dumps(event), flush=True)
    elif "blue" in task["join"]["job"]:
        sys.exit(3)
"""
"""A worker that does as it is told at once. No switch, no torch."""


def two(folder: Path, text: str = TWO) -> Topology:
    path = folder / "two.yaml"
    path.write_text(text)
    return load(str(path))


@pytest.fixture
def obedient(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[str]]:
    monkeypatch.setattr(Switch, "start", lambda self: None)
    return {"worker": [sys.executable, "-c", OBEDIENT]}


def ignore(rank: int, event: Event) -> None:
    pass


def test_each_job_joins_as_its_own(
    tmp_path: Path, obedient: dict[str, list[str]]
) -> None:
    text = TWO.replace("name: red", "start: 200 ms, name: red")
    with Loopback(two(tmp_path, text), **obedient) as fabric:
        red, blue = fabric.train_all(SHORT, [ignore, ignore])
    assert isinstance(red, list)
    assert isinstance(blue, list)
    assert [each["job"] for each in red] == ["red-1"]
    assert [each["job"] for each in blue] == ["blue-1"] * 2
    assert [each["rank"] for each in blue] == [0, 1]
    assert [each["bind"] for each in blue] == ["127.1.0.2", "127.1.0.1"]
    assert [each["num_slots"] for each in (*red, *blue)] == [512, 64, 64]
    assert red[0]["at"] >= max(each["at"] for each in blue) + 0.1


def test_a_job_that_fails_ends_alone(
    tmp_path: Path, obedient: dict[str, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also those of its workers that have nothing to say."""
    monkeypatch.setattr(course, "LAST_WORDS", 0.1)
    text = TWO.replace("name: red", "start: 300 ms, name: red")
    with Loopback(two(tmp_path, text), **obedient) as fabric:
        dies = replace(SHORT, workload="blue dies")
        red, blue = fabric.train_all(dies, [ignore, ignore])
        status = [worker.process.wait(5) for worker in fabric.workers[1:]]
    assert isinstance(red, list)
    assert str(blue) == "worker 1 of blue ended with exit status 3"
    assert status == [-15, 3]


@pytest.mark.parametrize("is_data_plane", [False, True])
def test_a_switch_that_ends_is_the_end_of_all_jobs(
    tmp_path: Path,
    obedient: dict[str, list[str]],
    monkeypatch: pytest.MonkeyPatch,
    is_data_plane: bool,
) -> None:
    """Without a word of the workers; at once, if they cannot notice."""
    monkeypatch.setattr(course, "MOMENT", 60.0 if is_data_plane else 0.05)
    with closing(Child("the switch", ["false"])) as switch:

        class WithSwitch(Loopback):
            others = [switch]  # noqa: RUF012 - is not changed
            data_planes = others if is_data_plane else []

        mute = {"worker": ["sleep", "60"]}
        with WithSwitch(two(tmp_path), **mute) as fabric:
            began = time.monotonic()
            outcomes = fabric.train_all(SHORT, [ignore, ignore])
    assert time.monotonic() - began < 30
    told = [str(each).splitlines()[0] for each in outcomes]
    assert told == ["the switch ended with exit status 1"] * 2


def alone(num_workers: int, training: Training) -> str:
    """Weights of a job on a switch of its own, in this process."""
    from intswitch.reproduce import lockstep
    from intswitch.trainer import Run

    building = Lock()  # weights come from torch's generator, of which there is one

    def work(network: lockstep.Worker) -> str:
        with building:
            method = Method(training.compressor, training.options)
            run = Run(training, method.create(training.seed), network)
        for number, _ in run.steps():
            run.step(number)
        return run.flat.digest()

    return lockstep.run(num_workers, work)[0]


def test_trainings_at_once_are_those_of_each_alone(tmp_path: Path) -> None:
    """Bit for bit; also of one whose neighbour's worker is killed amid it."""
    pytest.importorskip("torch")

    killed: list[float] = []

    class Killer(Silent):
        def stepped(self, step: int, loss: float) -> None:
            if step == 1:
                fabric.workers[2].process.kill()
                killed.append(time.monotonic())

    short: dict[str, str] = {}
    longer: dict[str, str] = {}

    def noted(weights: dict[str, str], name: str) -> Callable[[Result], None]:
        return lambda result: weights.update({name: result.workers[0].weights})

    names = ("red", "blue")
    with Loopback(two(tmp_path)) as fabric:
        done = [noted(short, name) for name in names]
        assert run_jobs(fabric, SHORT, [Silent(), Silent()], done) == [None, None]
        done = [noted(longer, name) for name in names]
        red, blue = run_jobs(fabric, LONGER, [Silent(), Killer()], done)
    assert red is None
    cause, consequence = str(blue).splitlines()
    assert cause == "worker 1 of blue was killed by SIGKILL"
    assert consequence.startswith("worker 0 of blue: ")
    assert "worker 1" in consequence
    assert time.monotonic() - killed[0] < SOON
    assert short == {"red": alone(1, SHORT), "blue": alone(2, SHORT)}
    assert short["red"] != short["blue"]
    assert longer == {"red": alone(1, LONGER)}


@pytest.mark.parametrize("interrupted", [False, True])
def test_the_command_shows_who_is_done_and_names_who_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, interrupted: bool
) -> None:
    """Or what is done when it is interrupted."""
    failure = FabricError("worker 1 of blue was killed by SIGKILL")

    def run_jobs(*arguments: Any) -> list[FabricError | None]:
        arguments[-1][0](result())
        if interrupted:
            raise KeyboardInterrupt
        return [None, failure]

    monkeypatch.setattr(compare, "open_fabric", lambda *_: nullcontext())
    monkeypatch.setattr(compare, "run_jobs", run_jobs)
    monkeypatch.setattr(compare, "write", lambda results, folder: [folder / "[b]"])
    console = Console(file=io.StringIO(), width=100)
    error = KeyboardInterrupt if interrupted else FabricError
    with pytest.raises(error) as caught:
        run_at_once(SHORT, load("two_jobs"), "loopback", tmp_path, console)
    assert interrupted or str(caught.value) == f"job blue failed\n{failure}"
    lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert lines[1] == "job red"
    assert lines[2].startswith("training  ")
    assert lines[-1] == f"wrote {tmp_path}/red/[b]"


def test_a_folder_that_cannot_be_made_is_told_before_the_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "blue").touch()
    monkeypatch.setattr(compare, "open_fabric", lambda *_: pytest.fail("it begins"))
    with pytest.raises(FileExistsError, match="blue"):
        run_at_once(SHORT, load("two_jobs"), "loopback", tmp_path, Console())


@pytest.mark.parametrize("name", ["a/b", "..", ".", "/"])
def test_a_name_that_no_folder_has(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="--output cannot make a folder named"):
        folder_of(tmp_path, name)
