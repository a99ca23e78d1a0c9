"""Arbitrary and mutated bytes: a small run of what `intswitch fuzz` does."""

import io

import numpy as np
import pytest
from rich.console import Console

from host import window
from host.arrivals import Arrived, receive
from host.datagrams import row_of
from intswitch.fuzz import command
from intswitch.fuzz.bytes import Mutator
from intswitch.fuzz.run import Outcome, run
from switch.protocol import FORMAT, HEADER_BYTES, Opcode, emit


def test_bytes_of_a_seed_are_the_same_and_of_all_sorts() -> None:
    draws = [[Mutator(seed, 7).datagram() for _ in range(3)] for seed in (1, 1, 2)]
    assert draws[0] == draws[1] != draws[2]
    mutator = Mutator(3, 7)
    many = [mutator.datagram() for _ in range(3000)]
    right = [
        each for each in many if len(each) >= HEADER_BYTES and each[0] >> 4 == FORMAT
    ]
    assert 300 < len(right) < 2900
    assert {each[0] & 15 for each in right} >= set(Opcode)
    assert min(map(len, many)) == 0


def test_a_switch_bears_it_and_a_good_job_stays_exact() -> None:
    outcome = run(3000, 60, seed=5)
    assert (outcome.datagrams, outcome.calls) == (3000, 60)
    assert outcome.sums > 0
    assert outcome.counted is not None
    assert outcome.counted["malformed"] > 1000
    assert outcome.refused > 0


@pytest.mark.parametrize("grows", [False, True])
def test_memory_that_grows_is_told(
    grows: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    after = 300 if grows else 204
    memory = (100 << 20, *([200 << 20] * 8), after << 20)
    names = ("malformed", "unknown_job", "unknown_source", "opcode", "ahead", "stale",
             "mismatch", "duplicate", "accepted")  # fmt: skip
    found = Outcome(10, 2, 1, 4, memory, dict.fromkeys(names, 1), 2.0)
    monkeypatch.setattr(command, "run", lambda *given: found)
    text = io.StringIO()
    assert command.fuzz(10, 2, 0, Console(file=text, width=200)) == grows
    assert "good job     4 sums, every one exact" in text.getvalue()


def test_a_hosts_window_bears_any_bytes() -> None:
    """Statuses and results that nobody asked for change no answer."""
    state = window.new_state(num_slots=4, limit=4, job=7, worker=0, num_workers=2)
    window.begin(state, 6, 18, 16)
    mutator = Mutator(1, 7)
    out = Arrived(*np.zeros((6, 1), np.int64))
    for number in range(5000):
        receive(state, row_of(mutator.datagram()), 1, number * 1e-3, out)
    # nothing was sent, so that nothing can have been answered
    assert state.window.done[0] == 0
    assert state.window.left_behind[0] == 0


def test_the_answer_of_an_empty_slot_leaves_nobody_behind() -> None:
    """It repeats the sequence that somebody asked for, whoever it was (found by the
    fuzzer: a query in the worker's name)."""
    state = window.new_state(num_slots=4, limit=4, job=7, worker=0, num_workers=2)
    window.begin(state, 1, 18, 16)
    due = window.Outgoing(*np.zeros((2, 4), np.int64))
    assert window.contributions_due(state, 0.0, due) == 1
    out = Arrived(*np.zeros((6, 1), np.int64))
    for workers, behind in ((0, 0), (1, 1)):
        status = emit(
            opcode=Opcode.STATUS, job=7, worker=workers, sequence=80,
            element_count=8, payload=bytes(8),
        )  # fmt: skip
        receive(state, row_of(status), 1, 0.1, out)
        assert state.window.left_behind[0] == behind
