"""The examples run as the documentation says: against a real switch, twice in a row."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
from ports import free_ports

from intswitch import cli
from intswitch.p4_configuration import read_controller

ROOT = Path(__file__).parent.parent
EXAMPLES = ROOT / "examples"
ENDS_WITHIN = 30  # seconds


@pytest.fixture
def ports(tmp_path: Path) -> Iterator[list[int]]:
    """A switch of examples/switch.yaml on free ports: its own, and the workers'."""
    chosen = free_ports(3)
    text = (EXAMPLES / "switch.yaml").read_text()
    for documented, free in zip((48864, 5001, 5002), chosen, strict=True):
        text = text.replace(str(documented), str(free))
    path = tmp_path / "switch.yaml"
    path.write_text(text)
    command = [sys.executable, "-m", "intswitch", "switch", str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as switch:
        assert switch.stdout is not None
        try:
            assert switch.stdout.readline() == f"listening 127.0.0.1:{chosen[0]}\n"
            yield chosen
        finally:
            switch.terminate()
            printed, _ = switch.communicate(timeout=ENDS_WITHIN)
    counted = dict(line.split() for line in printed.splitlines())
    assert (counted["accepted"], counted["results"]) == ("6", "3")
    assert switch.returncode == 0


def by_hand(ports: list[int]) -> list[str]:
    port, *workers = map(str, ports)
    # isolated: what it imports is Python's own, not what lies beside it
    command = [sys.executable, "-I", "-S", str(EXAMPLES / "by_hand.py")]
    return subprocess.check_output(
        [*command, "--port", port, "--workers", *workers],
        text=True,
        timeout=ENDS_WITHIN,
    ).splitlines()


def answers(chunk: int) -> list[str]:
    return [
        f"worker {rank}: chunk {chunk}, sum over 2 workers: [11, 22, 33]"
        for rank in (0, 1)
    ]


def test_two_packets_by_hand(ports: list[int]) -> None:
    assert by_hand(ports) == answers(chunk=0)
    assert by_hand(ports) == answers(chunk=16)
    command = [sys.executable, "-m", "intswitch", "reset", f"127.0.0.1:{ports[0]}", "7"]
    subprocess.run(command, check=True, timeout=ENDS_WITHIN)
    assert by_hand(ports) == answers(chunk=0)


def test_by_hand_without_a_switch() -> None:
    port, *workers = map(str, free_ports(3))
    command = [sys.executable, str(EXAMPLES / "by_hand.py"), "--port", port]
    done = subprocess.run(
        [*command, "--workers", *workers],
        capture_output=True,
        text=True,
        timeout=ENDS_WITHIN,
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        f"no answer from 127.0.0.1:{port}. Is the switch running, with this job?\n"
        "    intswitch switch examples/switch.yaml\n"
    )


def test_mininet_s_script_says_which_python_it_is_for() -> None:
    script = ROOT / "topologies" / "mininet_star.py"
    command = [sys.executable, "-I", "-S", str(script)]  # only what is Python's own
    done = subprocess.run(command, capture_output=True, text=True, timeout=ENDS_WITHIN)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"{sys.executable} has no Mininet.")
    (line,) = re.findall(
        r"^    (sudo env PATH=.* /usr/bin/python3 .*)$", done.stderr, re.M
    )
    assert line in script.read_text()
    assert line in (ROOT / "README.md").read_text()


def test_the_controller_s_file_is_in_order() -> None:
    config = read_controller(EXAMPLES / "controller.yaml")
    assert sorted(station.port for station in config.stations.values()) == [0, 1, 2]
    assert config.loop == 3
    assert config.control[0] in config.stations
    file = (EXAMPLES / "controller.yaml").read_text()
    command = typer.main.get_command(cli.app).commands["controller"]
    for text in (file, command.help):
        (line,) = re.findall(r"simple_switch -i (?:.*\\\n)?.*", text)
        assert re.findall(r"-i (\d)@", line) == ["0", "1", "2", "3", "4"]
