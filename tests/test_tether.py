"""A program that ends with who started it."""

import signal
import subprocess
import sys

import pytest

TETHERED = [sys.executable, "-P", "-m", "intswitch.tether"]
SLEEP = "import time; print('here', flush=True); time.sleep(60)"
SOON = 10.0


def start() -> "subprocess.Popen[bytes]":
    command = [*TETHERED, sys.executable, "-c", SLEEP]
    tether = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert tether.stdout
    assert tether.stdout.readline() == b"here\n"
    return tether


def test_it_ends_when_the_input_is_closed() -> None:
    with start() as tether:
        tether.stdin.close()  # type: ignore[union-attr]
        assert tether.wait(SOON) == 128 + signal.SIGKILL
        assert tether.stdout.read() == b""  # type: ignore[union-attr]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_ends_on_a_signal(number: signal.Signals) -> None:
    with start() as tether:
        tether.send_signal(number)
        assert tether.wait(SOON) == 128 + signal.SIGKILL
        assert tether.stdout.read() == b""  # type: ignore[union-attr]


def test_who_kills_it_kills_the_program() -> None:
    with start() as tether:
        tether.kill()
        assert tether.stdout.read() == b""  # type: ignore[union-attr]


def test_its_status_is_the_program_s() -> None:
    command = [*TETHERED, sys.executable, "-c", "raise SystemExit(7)"]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as tether:
        assert tether.wait(SOON) == 7
