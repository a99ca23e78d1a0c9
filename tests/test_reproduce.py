"""The command `reproduce`: from evidence to table, files and exit status."""

import csv
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from intswitch import cli, reproduce
from intswitch.reproduce.claims import (
    Basis,
    Claim,
    Evidence,
    Options,
    Progress,
    Quiet,
)


def claim(says: str = "it works", holds: bool = True, **given: Any) -> Claim:
    return Claim(source="section 1", says=says, measured="1 ± 0", holds=holds, **given)


def found(*claims: Claim) -> Evidence:
    rows = [{"panel": "a", "x": 1.5}, {"panel": "b", "y": 2}]

    def draw(figure: Any) -> None:
        figure.subplots().plot([1, 2], [3, 4])

    return Evidence(claims=claims, rows=rows, draw=draw, notes=["measured [here]"])


def call(
    monkeypatch: pytest.MonkeyPatch, evidence: Evidence, *words: str
) -> tuple[int, list[Options]]:
    """Exit status, and the options that the paper's function was given."""
    asked: list[Options] = []

    def module(options: Options, progress: Progress) -> Evidence:
        asked.append(options)
        assert list(progress.over([1, 2], "counting")) == [1, 2]
        return evidence

    monkeypatch.setattr(reproduce, "load", lambda paper: module)
    monkeypatch.setattr(sys, "argv", ["intswitch", "reproduce", *words])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    return int(caught.value.code or 0), asked


def test_all_claims_hold(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("matplotlib")
    evidence = found(claim(), claim("ours | too", basis=Basis.DERIVED))
    words = ("intsgd", "--seed", "3", "--quick", "--out", str(tmp_path))
    status, asked = call(monkeypatch, evidence, *words)
    assert (status, asked) == (0, [Options(seed=3, quick=True)])
    output = capsys.readouterr().out
    assert "counting ..." in output
    assert "section 1 [d]" in output
    assert "[d] our own statement" in output
    assert "[r]" not in output
    assert "measured [here]" in output
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["claims.json", "claims.md", "figure.csv", "figure.png"]
    page = (tmp_path / "claims.md").read_text()
    assert "| section 1 [d] | ours \\| too | 1 ± 0 | yes |" in page
    with (tmp_path / "figure.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [list(row.values()) for row in rows] == [["a", "1.5", ""], ["b", "", "2"]]
    document = json.loads((tmp_path / "claims.json").read_text())
    assert [each["basis"] for each in document["claims"]] == ["PAPER", "DERIVED"]
    assert document["notes"] == ["measured [here]"]
    assert (tmp_path / "figure.png").read_bytes().startswith(b"\x89PNG")


def test_a_claim_that_does_not_hold_is_status_1(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    evidence = found(claim(), claim("it flies", holds=False))
    status, _ = call(monkeypatch, evidence, "memsgd", "--out", str(tmp_path))
    assert status == 1
    assert "it flies" in capsys.readouterr().out
    assert "| it flies | 1 ± 0 | **no** |" in (tmp_path / "claims.md").read_text()


MISTAKES = {
    "nuqsgd --data setup.cfg": "--data setup.cfg: nuqsgd needs no data file; intsgd,",
    "memsgd --data nowhere.bz2": "nowhere.bz2: No such file or directory",
}


@pytest.mark.parametrize("words", MISTAKES)
def test_mistakes_are_found_before_anything_is_computed(
    words: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    status, asked = call(monkeypatch, found(), *words.split())
    assert (status, asked) == (1, [])
    assert capsys.readouterr().err.startswith("error: " + MISTAKES[words])


def test_the_data_file_is_handed_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "data"
    path.write_text("1 1:1\n")
    words = ("memsgd", "--data", str(path), "--out", str(tmp_path))
    _, asked = call(monkeypatch, found(), *words)
    assert asked == [Options(data=path)]


def test_an_unknown_paper_lists_the_known() -> None:
    with pytest.raises(ValueError, match="paper 'adam': must be one of intsgd, nuqsgd"):
        reproduce.load("adam")


def test_quiet_goes_through_all() -> None:
    assert list(Quiet().over("abc", "letters")) == ["a", "b", "c"]
