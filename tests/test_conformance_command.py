"""`intswitch conformance`: what it prints, and its exit status."""

import json
import re
from pathlib import Path

import pytest
from ports import free_ports
from real_switch import running
from switches_under_test import bare_switch, with_rule
from test_cli import call

from intswitch.configuration import read_switch
from intswitch.conformance import read, scripts
from intswitch.p4_configuration import read_controller
from intswitch.yaml_model import FileError
from switch.protocol import Rule

Monkey = pytest.MonkeyPatch
Capture = pytest.CaptureFixture[str]
EXAMPLE = Path(__file__).parent.parent / "examples" / "controller.yaml"
NAMES = [path.stem for path in scripts()]


def conformance(
    monkeypatch: Monkey, capsys: Capture, *words: str
) -> tuple[int, str, str]:
    return call(monkeypatch, capsys, "conformance", *words)


def test_a_right_switch_is_reported_row_by_row(
    monkeypatch: Monkey, capsys: Capture
) -> None:
    with running() as switch:
        status, output, errors = conformance(
            monkeypatch, capsys, "--target", switch.endpoint, "--timeout", "5"
        )
    assert (status, errors) == (0, "")
    rows = [line.split() for line in output.splitlines()]
    rows = [row for row in rows if row and row[-1] == "pass"]
    safe = [path.stem for path in scripts() if read(path).rule == Rule.SAFE]
    safe.remove("sequence_wrap")
    assert [row[0] for row in rows] == safe
    assert [row[-3:] for row in rows if row[0] == "wire"] == [["8", "6", "pass"]]
    assert "sequence_wrap: skipped\n    the target refuses the job: num_slots" in output
    summary = f"rule safe: {len(safe)} pass, 0 fail, 0 timeout, 1 skipped; "
    assert f"{switch.endpoint}, {summary}" in output
    others = len(NAMES) - len(safe) - 1
    assert f"not run: {others} scripts of the rule switchml (--rule switchml" in output


def test_a_wrong_switch_is_reported_to_the_field(
    monkeypatch: Monkey, capsys: Capture, tmp_path: Path
) -> None:
    path = tmp_path / "jobs.yaml"
    address, port = "127.0.0.1", free_ports(8)[0]
    words = ["--only", "late_duplicate_safe", "--only", "lanes_*"]
    at = f"{address}:{port}"
    status, text, _ = conformance(
        monkeypatch, capsys, "--jobs", *words, "--workers-at", at
    )
    assert status == 0
    path.write_text(text)
    with bare_switch(with_rule(Rule.SWITCHML)(read_switch(path))) as switch:
        status, output, _ = conformance(
            monkeypatch, capsys, "--fixed", str(path), "--target", switch.endpoint,
            "--timeout", "0.2", *words,
        )  # fmt: skip
    assert status == 1
    assert re.findall(r"^(\w+) .* (pass|fail) *$", output, re.MULTILINE) == [
        ("lanes_max", "pass"),
        ("lanes_or", "pass"),
        ("lanes_sum", "pass"),
        ("late_duplicate_safe", "fail"),
    ]
    assert (
        "late_duplicate_safe: fail, line 13: expect 0 result sum int32 sequence=0 "
        "flags=repeated : 2\n"
        "    nothing came to worker 0 of job 7\n"
        "    expected  11 12 0007 0002 ffff 00000000 0001 80 02  00000002\n"
        "    received  nothing\n"
    ) in output
    assert "the target does not tell its counters: 2 `count` lines were" not in output
    assert "1 fail" in output
    assert (
        "is the target set to the rule safe? It does not keep to it (--rule switch"
        in (output)
    )


def test_jobs_that_were_used_before_are_told_once(
    monkeypatch: Monkey, capsys: Capture, tmp_path: Path
) -> None:
    path = tmp_path / "jobs.yaml"
    address, port = "127.0.0.1", free_ports(8)[0]
    words = ["--only", "lanes_*"]
    _, text, _ = conformance(
        monkeypatch, capsys, "--jobs", *words, "--workers-at", f"{address}:{port}"
    )
    path.write_text(text)
    again = ["--fixed", str(path), *words, "--target"]
    with bare_switch(read_switch(path)) as switch:
        assert conformance(monkeypatch, capsys, *again, switch.endpoint)[0] == 0
        status, output, _ = conformance(monkeypatch, capsys, *again, switch.endpoint)
    assert status == 1
    assert (
        "\nlanes_max, lanes_or, lanes_sum: fail\n    its jobs have been used before: "
        "reset them, or start the target anew, before every run\n"
    ) in output
    assert "is the target set to the rule" not in output


def test_json_says_all_of_it(monkeypatch: Monkey, capsys: Capture) -> None:
    with running(rule=Rule.SWITCHML) as switch:
        status, output, _ = conformance(
            monkeypatch, capsys, "--target", switch.endpoint, "--timeout", "0.2",
            "--json",
            "--only", "lanes_sum", "--only", "late_*", "--rule", "safe",
        )  # fmt: skip
    report = json.loads(output)
    assert status == 1
    assert report["passed"] is False
    assert report["target"] == switch.endpoint
    assert report["rule"] == "safe"
    assert report["results"] == {"pass": 1, "fail": 1, "timeout": 0, "skipped": 0}
    assert report["other_rule"] == ["late_duplicate_switchml"]
    right, wrong = report["outcomes"]
    assert (right["script"], right["result"]) == ("lanes_sum", "pass")
    assert (right["sent"], right["received"]) == (20, 20)
    assert wrong["line"] == 13
    assert wrong["section"] == "The slot rule safe"
    assert wrong["expected"].startswith("11 12 0007")
    assert wrong["found"] is None


def test_the_other_rule(monkeypatch: Monkey, capsys: Capture) -> None:
    with running(rule=Rule.SWITCHML) as switch:
        status, output, _ = conformance(
            monkeypatch, capsys, "--target", switch.endpoint, "--rule", "switchml"
        )
    assert status == 0
    passed = sum(read(path).rule == Rule.SWITCHML for path in scripts())
    assert f"rule switchml: {passed} pass, 0 fail, 0 timeout, 0 skipped" in output


def test_nothing_tested_is_no_success(monkeypatch: Monkey, capsys: Capture) -> None:
    with running(num_slots=8) as switch:
        status, output, _ = conformance(
            monkeypatch, capsys, "--target", switch.endpoint, "--only", "sequence_wrap"
        )
    assert status == 1
    assert "0 pass, 0 fail, 0 timeout, 1 skipped" in output


def test_list_names_every_script(monkeypatch: Monkey, capsys: Capture) -> None:
    status, output, _ = conformance(monkeypatch, capsys, "--list")
    assert status == 0
    words = [line.split() for line in output.splitlines()]
    assert [row[0] for row in words if row and row[0] in NAMES] == NAMES
    assert "131,080" in output
    status, output, _ = conformance(monkeypatch, capsys, "--list", "--rule", "switchml")
    assert status == 0
    assert "safe_replay" not in output


@pytest.mark.parametrize("rule", Rule, ids=lambda rule: rule.name.lower())
def test_jobs_are_a_switchs_file(
    rule: Rule, monkeypatch: Monkey, capsys: Capture, tmp_path: Path
) -> None:
    path = tmp_path / "jobs.yaml"
    name = rule.name.lower()
    _, output, _ = conformance(
        monkeypatch, capsys, "--jobs", "--rule", name, "--workers-at", "10.1.2.3:7000"
    )
    path.write_text(output)
    config = read_switch(path)
    assert config.rule == rule
    wanted = [job for path in scripts() for job in _jobs(path, rule)]
    assert len(config.jobs) == len(wanted)
    for job, needed in zip(config.jobs, wanted, strict=True):
        assert len(job.workers) == len(needed.workers)
        assert (job.num_slots, job.slot_bytes, job.overflow) == (
            needed.num_slots, needed.slot_bytes, needed.overflow,
        )  # fmt: skip
    workers = [worker for job in config.jobs for worker in job.workers]
    assert workers == [("10.1.2.3", 7000 + number) for number in range(len(workers))]


def test_jobs_that_our_p4_program_takes(
    monkeypatch: Monkey, capsys: Capture, tmp_path: Path
) -> None:
    words = ["--jobs", "--workers-at", "10.0.0.1:20000"]
    _, whole, _ = conformance(monkeypatch, capsys, *words)
    text, _, _ = EXAMPLE.read_text().partition("jobs:")
    path = tmp_path / "controller.yaml"
    path.write_text(text + "jobs:" + whole.partition("jobs:")[2])
    with pytest.raises(FileError) as refused:
        read_controller(path)
    line = str(refused.value).splitlines()[-1]
    number = whole[: whole.index("  # sequence_wrap")].rpartition(" ")[2]
    assert line.startswith(f"{path}:")
    assert f"are left for job {number} (found 32768)" in line
    # as the message says, or the file's author
    for more in (["--num-slots", "32768"], ["--except", "sequence_*"]):
        _, fitting, _ = conformance(monkeypatch, capsys, *words, *more)
        path.write_text(text + "jobs:" + fitting.partition("jobs:")[2])
        jobs = [
            len(script.jobs)
            for script in map(read, scripts())
            if script.rule == Rule.SAFE and script.name != "sequence_wrap"
        ]
        assert len(read_controller(path).switch.jobs) == sum(jobs)
        told = "# Not for sequence_wrap: too many slots.\n" in fitting
        assert told == ("--num-slots" in more)


def _jobs(path: Path, rule: Rule) -> list:
    script = read(path)
    return script.jobs if script.rule == rule else []


MISTAKES = {
    "": "--target HOST:PORT: expected the switch to test, such as 127.0.0.1:48864",
    "--target nowhere": "switch address 'nowhere': expected HOST:PORT",
    "--target nowhere.invalid:1": "switch address nowhere.invalid:1: ",
    "--target 127.0.0.1:1": "no control plane answers at 127.0.0.1:1 (TCP). A",
    "--list --only safe": "--only safe: no such script; --list shows them all",
    "--list --except safe": "--except safe: no such script; --list shows them all",
    "--list --only reset --except r*": "--only and --except: no script is left",
    "--jobs --only wide_slots --num-slots 1": "--num-slots 1: no script has jobs",
    "--jobs --only switchml_add": "--only switchml_add: is of the rule switchml: add",
    "--jobs --workers-at 10.0.0.1": "--workers-at 10.0.0.1: expected ADDRESS:PORT",
    "--jobs --workers-at 10.0.0.1:65500": "--workers-at 10.0.0.1:65500: 36 ports do",
    "--fixed no.yaml": "no.yaml: No such file or directory",
}


@pytest.mark.parametrize("words", MISTAKES)
def test_a_mistake_is_one_clear_line(
    words: str, monkeypatch: Monkey, capsys: Capture
) -> None:
    monkeypatch.setattr("host.channel.CONNECT_TIMEOUT", 0.1)
    status, output, errors = conformance(monkeypatch, capsys, *words.split())
    assert (status, output) == (1, "")
    assert errors.startswith("error: " + MISTAKES[words])
    assert errors.count("\n") == 1


def test_a_mistake_in_the_file_is_told_by_field(
    monkeypatch: Monkey, capsys: Capture, tmp_path: Path
) -> None:
    path = tmp_path / "jobs.yaml"
    path.write_text("jobs:\n  - job: 0\n    workers: [127.0.0.1:1]\n")
    status, _, errors = conformance(monkeypatch, capsys, "--fixed", str(path))
    assert status == 1
    assert f"{path}:2: jobs.0.job: expected an integer from 1 to 65535" in errors


def test_a_rule_that_the_file_contradicts(
    monkeypatch: Monkey, capsys: Capture, tmp_path: Path
) -> None:
    path = tmp_path / "jobs.yaml"
    path.write_text("jobs:\n  - job: 1\n    workers: [127.0.0.1:1]\n")
    status, _, errors = conformance(
        monkeypatch, capsys, "--fixed", str(path), "--rule", "switchml"
    )
    assert status == 1
    assert errors == "error: --rule switchml: but the file of --fixed says safe\n"


@pytest.mark.parametrize("words", ["--timeout 0", "--rule fast"])
def test_wrong_usage(words: str, monkeypatch: Monkey, capsys: Capture) -> None:
    status, _, errors = conformance(monkeypatch, capsys, *words.split())
    assert status == 2
    assert "Usage: intswitch conformance" in errors


def test_what_is_skipped_alike_is_told_once(
    monkeypatch: Monkey, capsys: Capture
) -> None:
    with running(slot_bytes=8) as switch:
        _, output, _ = conformance(
            monkeypatch, capsys, "--target", switch.endpoint, "--only", "lanes_*"
        )
    assert "\nlanes_max, lanes_or, lanes_sum: skipped\n    the target refuses" in output
