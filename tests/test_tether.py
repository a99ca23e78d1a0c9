"""A program that ends with who started it."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

TETHERED = [sys.executable, "-P", "-m", "intswitch.tether"]
SLEEP = "import time; print('here', flush=True); time.sleep(60)"
SOON = 10.0


def start(folder: Path) -> "subprocess.Popen[bytes]":
    (folder / "deep").mkdir(parents=True)
    command = [*TETHERED, str(folder), sys.executable, "-c", SLEEP]
    tether = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert tether.stdout
    assert tether.stdout.readline() == b"here\n"
    return tether


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "own"


def test_it_ends_when_the_input_is_closed(folder: Path) -> None:
    with start(folder) as tether:
        tether.stdin.close()  # type: ignore[union-attr]
        assert tether.wait(SOON) == 128 + signal.SIGKILL
        assert tether.stdout.read() == b""  # type: ignore[union-attr]
    assert not folder.exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_ends_on_a_signal(number: signal.Signals, folder: Path) -> None:
    with start(folder) as tether:
        tether.send_signal(number)
        assert tether.wait(SOON) == 128 + signal.SIGKILL
        assert tether.stdout.read() == b""  # type: ignore[union-attr]
    assert not folder.exists()


def test_who_kills_it_kills_the_program(folder: Path) -> None:
    with start(folder) as tether:
        tether.kill()
        assert tether.stdout.read() == b""  # type: ignore[union-attr]


def test_its_status_is_the_program_s(folder: Path) -> None:
    command = [*TETHERED, str(folder), sys.executable, "-c", "raise SystemExit(7)"]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as tether:
        assert tether.wait(SOON) == 7
