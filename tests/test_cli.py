"""The command line: quick, light, and no traceback for what a user gets wrong."""

import re
import subprocess
import sys
import time

import pytest
import typer

from intswitch import cli, console, options
from intswitch.fabrics import FABRICS
from intswitch.methods import SETS, Method, chosen_texts, parse_options

HEAVY = {"torch", "numba", "grpc", "pydantic", "matplotlib", "numpy"}


def call(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *words: str
) -> tuple[int, str, str]:
    """Exit status, output and errors of `intswitch words...`, in this process."""
    monkeypatch.setattr(sys, "argv", ["intswitch", *words])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    output, errors = capsys.readouterr()
    return int(caught.value.code or 0), output, errors


def python(code: str) -> str:
    command = [sys.executable, "-P", "-c", code]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def test_help_loads_nothing_heavy() -> None:
    loaded = python("import sys, intswitch, intswitch.cli; print(*sys.modules)")
    assert not HEAVY & set(loaded.split())


def test_help_is_quick() -> None:
    command = [sys.executable, "-P", "-m", "intswitch", "--help"]
    seconds = []
    for _ in range(3):
        began = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        seconds.append(time.perf_counter() - began)
    assert min(seconds) < 1.0


COMMANDS = list(typer.main.get_command(cli.app).commands)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_help_has_an_example(
    command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    status, output, _ = call(monkeypatch, capsys, command, "--help")
    assert status == 0
    assert f"    intswitch {command}" in output


@pytest.mark.parametrize("command", COMMANDS)
def test_help_fits_a_narrow_terminal(
    command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What was broken into lines by hand is not broken again."""
    monkeypatch.setenv("COLUMNS", "80")
    _, output, _ = call(monkeypatch, capsys, command, "--help")
    text = (typer.main.get_command(cli.app).commands[command].help or "").split("\n\n")
    shown = [line.strip() for line in output.splitlines()]
    for line in "\n".join(text[1:]).replace("\b\n", "").splitlines():
        assert line.strip() in shown


def test_help_names_every_fabric() -> None:
    (option,) = [
        each
        for each in typer.main.get_command(cli.app).commands["train"].params
        if each.name == "fabric"
    ]
    assert re.findall(r"\[b\]([\w-]+)\[/\]", option.help) == list(FABRICS)


MISTAKES = {
    "train -c adam": "compressor 'adam': must be one of exact, intsgd, intdiana",
    "train -o bits=8": "intsgd has no option 'bits': it has element_type,",
    "train -o beta": "option 'beta': expected name=value, as in beta=0.9",
    "train -o scale=huge": "scale is 'huge': must be one of moving_average,",
    "train --topology ring": "topology: 'ring' is no file, and none of pair, star",
    "train --loss 1": "loss: expected a probability below 1, not 1.0",
    "train --steps 5 --epochs 1": "--steps and --epochs: give one of them, not both",
    "compare --topology two_jobs": "jobs: a comparison has one, not 2 (red, blue)",
    "train --fabric sim --topology two_jobs": "jobs: the sim fabric runs one, not 2",
    "compare -c exact:fast": "option 'fast': expected name=value",
    "explore --rejoin --slots 2": "--slots, --rejoin: only with --workers or --tree",
    "explore --workers 2 --rejoin": "--rejoin: only with --stragglers",
    "explore --workers 2 --tree (0,1)": "--workers: not beside --tree, which says",
    "study slots --delay 0us": "--delay 0us: must be more than 0",
    "study loss --rate 400Gbs": "--rate 400Gbs: expected a number and one of the units",
    "reset nowhere 1": "switch address 'nowhere': expected HOST:PORT",
    "switch no.yaml": "no.yaml: No such file or directory",
    "switch --address nowhere.invalid": "--address nowhere.invalid: expected a host",
}


@pytest.mark.parametrize("words", MISTAKES)
def test_mistake_is_one_clear_line(
    words: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    status, output, errors = call(monkeypatch, capsys, *words.split())
    assert (status, output) == (1, "")
    assert errors.startswith("error: " + MISTAKES[words])
    assert errors.count("\n") == 1


@pytest.mark.parametrize(
    "words", ["nonsense", "train -w imagenet", "train --steps 0", "switch --port 70000"]
)
def test_wrong_usage(
    words: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    status, _, errors = call(monkeypatch, capsys, *words.split())
    assert status == 2
    assert "Usage: intswitch" in errors
    assert "Traceback" not in errors


def test_version(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(monkeypatch, capsys, "--version")[:2] == (0, "intswitch 0.1.0\n")


def test_public_names() -> None:
    import intswitch

    assert {"Switch", "join", "compressor", "__version__"} <= set(dir(intswitch))
    assert intswitch.Switch.__name__ == "Switch"
    with pytest.raises(AttributeError, match="has no attribute 'swich'"):
        _ = intswitch.swich


def test_counters_come_in_order(capsys: pytest.CaptureFixture[str]) -> None:
    console.show_counters({"stale": 1, "accepted": 1200, "lost_in": 3, "results": 4})
    names = [line.split()[0] for line in capsys.readouterr().out.splitlines()]
    assert names == ["accepted", "results", "stale", "lost_in"]


def test_options_have_types() -> None:
    texts = ["beta=0.5", "alpha0=2", "clip=false", "element-type=int8"]
    assert parse_options(texts) == {
        "beta": 0.5,
        "alpha0": 2,
        "clip": False,
        "element_type": "int8",
    }


def test_named_options_go_before_shorthands() -> None:
    method = Method.parse("intsgd:beta=0.5").extended(
        ["rounding=random"], element_type="int8", rounding="deterministic"
    )
    assert method == Method(
        "intsgd", {"beta": 0.5, "element_type": "int8", "rounding": "random"}
    )


@pytest.mark.parametrize(
    "text", sorted({each for some in SETS.values() for each in some})
)
def test_methods_of_sets_exist(text: str) -> None:
    Method.parse(text).checked()


def test_a_method_may_have_its_own_learning_rate() -> None:
    method = Method.parse("signsgd:path=gather,lr=5e-4").extended(["momentum=0"])
    own = {"lr": 5e-4, "momentum": 0.0}
    assert method == Method("signsgd", {"path": "gather"}, own)
    assert method.checked().training == own


@pytest.mark.parametrize("value", ["fast", "-1", "true", "inf", "nan"])
def test_a_learning_rate_is_a_number(value: str) -> None:
    with pytest.raises(ValueError, match="expected a number of at least 0"):
        Method.parse(f"signsgd:lr={value}")


@pytest.mark.parametrize("name", SETS)
def test_sets_are_taken_by_the_command(name: str) -> None:
    methods = [Method.parse(text) for text in SETS[name]]
    assert all(methods.count(method) == 1 for method in methods)
    assert name in str(options.Set)


def test_what_is_compared() -> None:
    assert chosen_texts("mnist", None, []) == SETS["scalings"]
    assert chosen_texts("logistic", None, []) == SETS["heterogeneous"]
    assert chosen_texts("mnist", None, ["exact"]) == ("exact",)
    assert chosen_texts("mnist", "papers", ["fixed"]) == (*SETS["papers"], "fixed")


def test_checked_method_says_its_element_type() -> None:
    assert Method("intsgd").checked().options == {"element_type": "int8"}
    assert Method("fixed").checked().options == {"element_type": "int32"}
    assert Method("exact").checked().options == {}
