"""Studies, at their smallest; protocols without a switch that adds."""

import csv
from pathlib import Path

import pytest

from intswitch import study
from intswitch.sim.cables import Cable
from intswitch.sim.rivals import parameter_server, ring_all_reduce
from intswitch.sim.tree import tree_of
from intswitch.study import command
from intswitch.study.base import Options, Row
from switch.tree import ranks_of

CABLE = Cable(rate=100e9, delay=1e-6)
FRAME = 8 * (16 + 1024 + 66) / 100e9  # seconds of a full packet
QUICK = Options(quick=True)


@pytest.mark.parametrize("fanouts", [(2,), (5,), (2, 3)])
def test_a_ring_sums_in_the_time_that_its_steps_take(fanouts: tuple[int, ...]) -> None:
    tree = tree_of(fanouts)
    num_workers = len(ranks_of(tree))
    found = ring_all_reduce(tree, CABLE, num_workers * 1024, 1024)
    assert found.wrong == 0
    assert found.checked == num_workers**2
    if len(fanouts) == 1:
        step = 2 * (FRAME + CABLE.delay)
        assert found.seconds == pytest.approx(2 * (num_workers - 1) * step)
        assert found.packet_hops == 2 * num_workers * 2 * (num_workers - 1)


def test_a_long_ring_takes_what_its_bytes_take() -> None:
    found = ring_all_reduce(tree_of((4,)), CABLE, 4 * 1000 * 1024, 1024)
    assert found.seconds == pytest.approx(6 * 1000 * FRAME, rel=0.02)


@pytest.mark.parametrize("fanouts", [(4,), (2, 3)])
def test_a_parameter_server_is_as_fast_as_its_link(fanouts: tuple[int, ...]) -> None:
    tree = tree_of(fanouts)
    num_workers = len(ranks_of(tree))
    found = parameter_server(tree, CABLE, 500, 64, 1024, 1024)
    assert found.wrong == 0
    assert found.checked == num_workers * 500
    assert found.seconds == pytest.approx(num_workers * 500 * FRAME, rel=0.1)


@pytest.mark.parametrize("name", study.STUDIES)
def test_a_study_writes_what_it_measures(
    name: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Every case of the small ones; of the others, the first few stand for all."""
    chosen = study.load(name)
    cases = chosen.cases(QUICK)
    few = len(cases) if name in ("slots", "depth", "jobs") else 12
    measured: list[Row] = []

    def measure(case: Row, options: Options) -> Row:
        if len(measured) < few:
            measured.append(type(chosen).measure(chosen, case, options))
        return measured[-1]

    monkeypatch.setattr(chosen, "measure", measure)
    command.run(name, QUICK, tmp_path)
    with (tmp_path / f"{name}.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(cases)
    assert all(set(case) < set(row) for case, row in zip(cases, rows, strict=True))
    assert (tmp_path / f"{name}.png").stat().st_size > 10_000
    said = capsys.readouterr().out
    assert sum(line.startswith("- ") for line in said.splitlines()) >= 4


def test_slots_are_as_fast_as_the_bound() -> None:
    chosen = study.load("slots")
    for delay, slots in ((5.0, 16), (0.5, 64)):
        row = chosen.measure({"delay_us": delay, "num_slots": slots}, QUICK)
        assert 0.95 < row["goodput_gbit_s"] / row["bound_gbit_s"] <= 1


def test_answers_to_later_packets_find_losses_sooner_than_a_timer() -> None:
    chosen = study.load("loss")
    case = {"loss": 0.01, "reordering": 0.0, "window": 128, "timeout": 1e-3, "seed": 0}
    times = {
        repair: chosen.measure(case | {"repair": repair}, QUICK)["milliseconds"]
        for repair in ("timer", "time", "packets")
    }
    assert 5 * times["time"] < times["timer"]
    assert 5 * times["packets"] < times["timer"]


def test_in_network_time_does_not_grow_with_workers() -> None:
    chosen = study.load("collectives")
    times = {
        (method, workers): chosen.measure(
            {"workers": workers, "method": method, "integers": "int8"}, QUICK
        )["milliseconds"]
        for method in ("switch", "ring")
        for workers in (4, 16)
    }
    assert times["switch", 16] < 1.1 * times["switch", 4]
    assert times["ring", 16] > 2 * times["ring", 4]


def test_an_unknown_study_is_told() -> None:
    with pytest.raises(ValueError, match="expected one of loss, slots"):
        study.load("weather")
