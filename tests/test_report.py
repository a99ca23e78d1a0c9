"""Results in words, as a table, as files, and as a figure."""

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest
from results import result
from rich.console import Console

from intswitch import report
from intswitch.figure import peaks, style_of


def printed(width: int, show: object, *arguments: object) -> str:
    console = Console(file=io.StringIO(), width=width)
    show(*arguments, console)  # type: ignore[operator]
    return console.file.getvalue()  # type: ignore[attr-defined]


def test_result_takes_workers_together() -> None:
    one = result()
    assert one.losses == [6.0, 4.5, 3.0, 1.5]
    assert one.largest_integers == [10, 140, 12, 14]
    assert one.largest_integer == 140
    assert (one.bytes_up, one.bytes_down) == (1500, 3000)
    assert one.bits_per_coordinate == 12.0
    assert one.milliseconds["communicate"] == pytest.approx(1.5)
    assert one.total("clips") == 33


def test_summary_says_what_the_training_cost() -> None:
    rows = dict(report.summary(result(element_type="int8")))
    assert rows["training"] == "digits, intsgd int8, seed 0"
    assert rows["test accuracy"] == "75.0 %"
    assert rows["test loss"] == "0.500"
    assert rows["bytes"] == (
        "1.5 kB up, 3.0 kB down a worker and step (12.00 bits a coordinate up)"
    )
    assert rows["packets"] == "300 sent, 297 received, barriers included"
    assert rows["retransmissions"] == "9 (3.00 % of the packets sent)"
    assert rows["largest integer"] == (
        "140 before clipping (in the first step 10), 20 in sums"
    )
    assert rows["clips"] == "33 of 8,000 elements"
    assert rows["overflows"] == "3 results"
    assert rows["ms a step"].startswith("compute 1.50, wait 1.50, compress 1.50")


def test_summary_of_exact_has_no_integers() -> None:
    rows = dict(report.summary(result("exact")))
    assert not {"packets", "largest integer", "clips"} & set(rows)
    assert "gloo" in rows["path"]


def test_summary_fits_a_narrow_terminal() -> None:
    text = printed(60, report.summarize, result())
    assert max(map(len, text.splitlines())) <= 60
    assert "largest integer" in text


def test_rows_are_means_over_seeds() -> None:
    runs = [result("exact", 0.5), result(accuracy=0.8, seed=0)]
    runs += [result("exact", 0.7, seed=1), result(accuracy=0.9, seed=1)]
    exact, intsgd = report.rows(runs)
    assert (exact.method, intsgd.method) == ("exact", "intsgd")
    assert exact.mean == pytest.approx(0.6)
    assert exact.deviation == pytest.approx(0.1 * 2**0.5)
    assert intsgd.clips == 66


@pytest.mark.parametrize("width", [80, 110, 150])
def test_table_shows_every_figure_at_any_width(width: int) -> None:
    runs = [result("exact"), result(element_type="int8", rounding="deterministic")]
    text = printed(width, report.tabulate, runs)
    assert max(map(len, text.splitlines())) <= width
    assert "…" not in text
    assert "75.00 ± 0.00 %" in text
    assert text.count("decompress") == 1
    assert "140" in text


def test_small_losses_keep_their_digits() -> None:
    (row,) = report.rows([result(accuracy=None, loss=1.24e-9)])
    assert report.score_text(row) == "1.2e-09 ± 0e+00"
    (row,) = report.rows([result(accuracy=None, loss=1.98764)])
    assert report.score_text(row) == "1.9876 ± 0.0000"


def test_csv(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    report.write_csv([result("exact"), result()], path)
    with path.open(newline="") as file:
        exact, intsgd = csv.DictReader(file)
    assert (exact["method"], intsgd["method"]) == ("exact", "intsgd")
    assert float(intsgd["mean"]) == 0.75
    assert float(intsgd["communicate_ms"]) == 1.5
    assert float(intsgd["bits_per_coordinate"]) == 12.0
    assert int(intsgd["largest_integer"]) == 140
    assert (exact["retransmissions"], intsgd["retransmissions"]) == ("", "9")


def test_markdown_has_every_column(tmp_path: Path) -> None:
    path = tmp_path / "table.md"
    runs = [result("exact"), result(path="gather"), result(element_type="int8")]
    report.write_markdown(runs, path)
    lines = path.read_text().splitlines()
    table = [[cell.strip() for cell in each.split("|")[1:-1]] for each in lines[2:7]]
    assert lines[0] == "digits, 2 workers, 4 steps, 1 seed"
    assert {len(row) for row in table} == {len(table[0])}
    columns = dict(zip(table[0], zip(*table[2:], strict=True), strict=True))
    assert columns["method"] == ("exact", "intsgd gather", "intsgd int8")
    assert columns["path"] == ("gloo", "gather", "network")
    assert columns["up kB"] == ("1.5", "1.5", "1.5")
    assert columns["down kB"] == ("3.0", "3.0", "3.0")
    assert columns["communicate"] == ("1.50", "1.50", "1.50")
    assert set(report.PHASES) <= set(columns)


def test_json_has_the_whole_history(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    report.write_json([result(element_type="int8")], path)
    (run,) = json.loads(path.read_text())
    assert run["method"] == "intsgd int8"
    assert run["training"]["options"] == {"element_type": "int8"}
    assert run["workers"][1]["largest_integers"] == [10, 140, 12, 14]
    assert run["evaluations"][-1] == {"step": 4, "loss": 0.5, "accuracy": 0.75}


def test_figure(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    from intswitch.figure import draw

    runs = [result("exact"), result(element_type="int8"), result("exact", seed=1)]
    png, svg = draw(runs, tmp_path)
    assert png.read_bytes().startswith(b"\x89PNG")
    text = svg.read_text()
    for drawn in (
        "intsgd int8",
        "digits, 2 workers, 4 steps, 2 seeds",
        "largest absolute integer, before clipping",
    ):
        assert f"<!-- {drawn} -->" in text


def test_lines_look_different() -> None:
    looks = [tuple(style_of(number).values()) for number in range(32)]
    assert len(set(looks)) == 32


def test_peaks_keep_the_largest() -> None:
    integers = np.arange(1000) % 97
    steps, highest = peaks(integers, points=10)
    assert steps.tolist() == list(range(1, 1001, 100))
    assert highest.tolist() == [part.max() for part in np.split(integers, 10)]
