"""A comparison: what is run, and what is written."""

import csv
import json
import sys
from pathlib import Path

import pytest

from intswitch import cli
from intswitch.compare import plan
from intswitch.experiment import Training
from intswitch.methods import Method


def test_plan_has_every_method_with_every_seed() -> None:
    methods = [Method("exact"), Method("intsgd", {"element_type": "int8"})]
    trainings = plan(Training(seed=5, steps=7), methods, 2)
    assert [(each.label, each.seed) for each in trainings] == [
        ("exact", 5),
        ("intsgd int8", 5),
        ("exact", 6),
        ("intsgd int8", 6),
    ]
    assert {each.steps for each in trainings} == {7}


def test_a_methods_own_learning_rate_goes_before_the_commands() -> None:
    methods = [Method("exact"), Method("signsgd", training={"lr": 0.001})]
    one, other = plan(Training(lr=0.1, momentum=0.5), methods, 1)
    assert (one.lr, one.momentum) == (0.1, 0.5)
    assert (other.lr, other.momentum) == (0.001, 0.5)
    assert other.label == "signsgd lr=0.001 momentum=0.5"


def test_compare(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Heterogeneous workers: IntSGD's integers grow, IntDIANA's do not."""
    pytest.importorskip("torch")
    pytest.importorskip("matplotlib")
    words = "compare -w logistic --topology pair --seeds 2 --steps 150 --evaluations 5"
    words += " -c intsgd:scale=plain,element_type=int32"
    words += " -c intdiana:element_type=int32 -c exact"
    command = ["intswitch", *words.split(), "--output", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", command)
    with pytest.raises(SystemExit) as caught:
        cli.main()
    assert not caught.value.code
    output = capsys.readouterr().out
    assert "objective gap" in output
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == [
        "figure.png",
        "figure.svg",
        "results.json",
        "table.csv",
        "table.md",
    ]
    with (tmp_path / "table.csv").open(newline="") as file:
        table = {row["method"]: row for row in csv.DictReader(file)}
    assert list(table) == ["intsgd int32 plain", "intdiana int32", "exact"]
    assert {row["seeds"] for row in table.values()} == {"2"}
    assert int(table["intsgd int32 plain"]["largest_integer"]) > 15
    assert int(table["intdiana int32"]["largest_integer"]) < 6
    assert float(table["intdiana int32"]["mean"]) < 1e-2
    assert len(json.loads((tmp_path / "results.json").read_text())) == 6
