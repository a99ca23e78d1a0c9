"""The explorer: exhausts `safe`, finds what is wrong with `switchml`, and finds what is
wrong with rules that were broken on purpose."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from intswitch.explore.command import SHAPES, shape
from intswitch.explore.parties import parties_of
from intswitch.explore.report import describe, table, trace
from intswitch.explore.search import Outcome, explore
from intswitch.explore.shapes import Shape
from switch.config import JobConfig, SwitchConfig
from switch.pipeline import Pipeline
from switch.protocol import HEADER_BYTES, Rule

SAFE = [shape for shape in SHAPES if shape.rule == Rule.SAFE]
SWITCHML = Shape(Rule.SWITCHML)
OUTCOME = Outcome(1, 1, 1, None, None, exhausted=True)


@pytest.mark.parametrize("shape", SAFE, ids=str)
def test_safe_is_exhausted_without_a_wrong_sum(shape: Shape) -> None:
    outcome = explore(parties_of(shape))
    assert outcome.wrong is None
    assert outcome.stuck is None
    assert outcome.exhausted
    # every worker has been through every chunk
    assert outcome.situations > sum(shape.aggregations) * shape.num_workers


def test_sequences_wrap_like_any_others() -> None:
    """The same states, whatever the numbers: nothing depends on where they begin."""
    outcomes = [explore(parties_of(Shape(first=first))) for first in (8, 2**32 - 2)]
    assert outcomes[0] == outcomes[1]


def test_switchml_makes_a_wrong_sum() -> None:
    outcome = explore(parties_of(SWITCHML))
    assert outcome.wrong
    assert outcome.wrong.what.endswith(
        "takes 4 as the sum of chunk 1, where 202 is right"
    )
    assert outcome.stuck
    assert "nobody can go on" in outcome.stuck.what
    lines = trace(outcome.wrong, 1).splitlines()
    assert len(lines) == 2 * len(outcome.wrong.history) + 1
    assert "a copy that the network kept" in trace(outcome.wrong, 1)


def test_the_trace_is_true() -> None:
    """A switch that gets the trace's packets sends the wrong sum."""
    wrong = explore(parties_of(SWITCHML)).wrong
    assert wrong
    addresses = ("127.0.0.1", 5000), ("127.0.0.1", 5001)
    job = JobConfig(job=1, workers=addresses, num_slots=1, slot_bytes=4)
    pipeline = Pipeline(SwitchConfig(rule=Rule.SWITCHML, jobs=(job,)))
    last: list[tuple[bytes, tuple[str, int]]] = []
    for event in wrong.history:
        if event.packet.destination == 0:
            source = addresses[event.packet.source - 1]
            last = pipeline.process([(event.packet.data, source)])
    assert {int.from_bytes(data[HEADER_BYTES:], "big") for data, _ in last} == {4}


def test_a_search_that_was_cut_off_says_so() -> None:
    outcome = explore(parties_of(Shape()), most_states=20)
    assert (outcome.states, outcome.exhausted) == (20, False)


def test_the_table_tells_shapes_apart() -> None:
    late = Shape(stragglers=True, rejoin=True)
    rows = table([(each, OUTCOME, 0.0) for each in (Shape(), late)])
    assert list(rows.columns[0].cells) == ["safe", "safe,\nstragglers,\nrejoin"]


@pytest.mark.parametrize(
    ("shape", "what"),
    [
        (Shape(num_workers=5), "5 workers"),
        (Shape(num_slots=3), "power of two"),
        (Shape(aggregations=(0,)), "a chunk or more"),
        (Shape(tree=((0, 1), 2)), "each rank from 0 on once"),
        (Shape(tree=((0,), 0)), "each rank from 0 on once"),
    ],
)
def test_what_cannot_be_explored_is_refused(shape: Shape, what: str) -> None:
    with pytest.raises(ValueError, match=what):
        parties_of(shape)


def test_a_tree_in_words() -> None:
    found = shape("safe", 0, 1, "3+4", 5, None, "((0,1),2)")
    assert found == Shape(Rule.SAFE, 3, 1, (3, 4), 5, tree=((0, 1), 2))
    for text in ("(0,1", "3", "((0,'1'),2)", "((0,1.5),2)", "f()"):
        with pytest.raises(ValueError, match="must be as"):
            shape("safe", 0, 1, "3", 0, None, text)


BROKEN = {
    "a bit that is set does not count": (
        "slots.has_contributed = lambda slot, worker: False",
        "wrong",
    ),
    "what is behind is reduced": (
        "slots.decide_safe = instead(slots.decide_safe, slots.STALE, slots.REDUCE)",
        "wrong",
    ),
    "nothing is replayed": (
        "slots.decide_safe = instead(slots.decide_safe, slots.REPLAY, slots.DUPLICATE)",
        "stuck",
    ),
    "a chunk cannot be taken over": (
        "slots.decide_safe = instead(slots.decide_safe, slots.TAKE_OVER, slots.AHEAD)",
        "stuck",
    ),
    "a host looks at the slot of a result alone": (
        """
old = arrivals.on_result
def by_slot(state, header, length, now):
    at = header.sequence % state.window[0].num_slots
    sequence = int(state.window[0].first + state.slots[at].chunk)
    return old(state, header._replace(sequence=sequence), length, now)
arrivals.on_result = by_slot
""",
        "wrong",
    ),
    "a host sends a version's next chunk too early": (
        """
from host import window
old_begin = window.begin
def begin(state, num_chunks, kind, full_count):
    old_begin(state, num_chunks, kind, full_count)
    window.release(state, 2)
window.begin = begin
""",
        "stuck",
    ),
}
TREE = ((0, 1), 2)
BROKEN_TREES = {
    "nothing is contributed upward again": (
        """
slots.decide_safe = instead(slots.decide_safe, slots.SEND_UP, slots.DUPLICATE)
""",
        "stuck",
    ),
    "a leaf's own sum is as good as the root's": (
        "slots.decide_safe = instead(slots.decide_safe, slots.SEND_UP, slots.REPLAY)",
        "wrong",
    ),
    "a result of the parent is taken whatever its sequence": (
        """
old = slots.decide_result
def careless(slot, header, below):
    return old(slot, header._replace(sequence=int(slot.sequence)), below)
slots.decide_result = careless
""",
        "wrong",
    ),
    "a host takes its switch for the whole job": (
        """
from host import window
old_state = window.new_state
def whole(*, seat, **options):
    return old_state(seat=seat._replace(below=3), **options)
window.new_state = whole
""",
        "stuck",
    ),
    # as the proof in docs/protocol.md has it: a complete slot that somebody may take
    # over is final already
    "a leaf makes way for the next chunk as soon as it is complete": (
        """
old = slots.decide_safe
def early(slot, *rest):
    complete = slot.copy()
    complete.final = slot.closed != slots.OPEN
    found = old(complete, *rest)
    return found if found == slots.TAKE_OVER else old(slot, *rest)
slots.decide_safe = early
""",
        "nothing",
    ),
}
BROKEN_STRAGGLERS = {
    "who is late is added to what has gone out": (
        "slots.decide_safe = instead(slots.decide_safe, slots.LATE, slots.REDUCE)",
        "wrong",
    ),
    "who is late gets no answer": (
        "slots.decide_safe = instead(slots.decide_safe, slots.LATE, slots.DUPLICATE)",
        "stuck",
    ),
    "a status does not say that the result has gone out": (
        """
from switch import aggregate
aggregate.final_flag = lambda slot, job: 0
""",
        "stuck",
    ),
}
BROKEN_LATE_TREES = {
    "what a leaf sends up is its result, too": (
        """
from switch import aggregate
def close(slot, values, cause, job, counts, out):
    slot.closed, slot.final = slots.CLOSED, slot.received
    if job.parent >= 0:
        aggregate.contribute(slot, values, cause.job, job.parent, 0, out)
    aggregate.send_result(slot, values, cause, job, counts, out)
aggregate.close = close
""",
        "wrong",
    ),
    "nobody below hears that the root has gone on": (
        "slots.decide_status = lambda slot, header: slots.STALE",
        "stuck",
    ),
}
EXPLORE = """
from host import arrivals
from switch import slots

def instead(decide, verdict, other):
    def changed(*arguments):
        found = decide(*arguments)
        return other if found == verdict else found
    return changed

{breakage}
from intswitch.explore.parties import parties_of
from intswitch.explore.search import explore
from intswitch.explore.shapes import Shape
outcome = explore(parties_of(Shape({shape})), {most_states})
print("wrong" if outcome.wrong else "stuck" if outcome.stuck else "nothing")
"""


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_broken_is_found(name: str) -> None:
    breakage, expected = BROKEN[name]
    assert explored_with(breakage, "") == expected


@pytest.mark.parametrize("name", BROKEN_TREES)
def test_what_is_broken_in_a_tree_is_found(name: str) -> None:
    breakage, expected = BROKEN_TREES[name]
    shape = f"num_workers=3, aggregations=(3,), tree={TREE}"
    assert explored_with(breakage, shape) == expected


@pytest.mark.parametrize("name", BROKEN_STRAGGLERS)
def test_what_is_broken_about_stragglers_is_found(name: str) -> None:
    breakage, expected = BROKEN_STRAGGLERS[name]
    shape = "num_workers=2, aggregations=(2,), stragglers=True"
    assert explored_with(breakage, shape) == expected


@pytest.mark.parametrize("name", BROKEN_LATE_TREES)
def test_what_is_broken_about_stragglers_in_trees_is_found(name: str) -> None:
    breakage, expected = BROKEN_LATE_TREES[name]
    shape = "num_workers=2, aggregations=(3,), tree=((0,), 1), stragglers=True"
    assert explored_with(breakage, shape, most_states=100) == expected


def explored_with(breakage: str, shape: str, most_states: int = 1_000_000) -> str:
    """Without compilation, so that a function can be put in another's place."""
    root = Path(__file__).parent.parent
    environment = {**os.environ, "NUMBA_DISABLE_JIT": "1", "PYTHONPATH": str(root)}
    code = EXPLORE.format(breakage=breakage, shape=shape, most_states=most_states)
    output = subprocess.check_output(
        [sys.executable, "-c", code], env=environment, text=True
    )
    return output.strip()


def test_what_a_worker_makes_of_answers() -> None:
    """A status is learned from, also where it changes nothing; a result counts once."""
    switch, worker = parties_of(Shape(num_workers=1, aggregations=(1,)))
    empty, begun = switch.start().state, worker.start()
    (query,) = worker.again(begun.state)
    (status,) = switch.take(empty, query).sent
    assert worker.take(begun.state, status).did == "learns"
    (result,) = switch.take(empty, begun.sent[0]).sent
    ended = worker.take(begun.state, result)
    assert (ended.did, ended.wrong) == ("takes 1 as the sum of chunk 0", None)
    for late in (result, status):
        assert worker.take(ended.state, late).did == "ignores"


def test_a_trace_names_every_switch() -> None:
    shape = Shape(num_workers=2, aggregations=(1,), tree=((0,), 1))
    parties = parties_of(shape)
    assert [each.name for each in parties] == [
        "switch 0", "switch 1", "worker 0", "worker 1",
    ]  # fmt: skip
    first = parties[2].start().sent[0]
    words = describe(first, [each.name for each in parties], shape.num_slots)
    assert words.startswith("worker 0 -> switch 1  contribute  sequence 0")
    step = parties[1].take(parties[1].start().state, first)
    (upward,) = step.sent
    words = describe(upward, [each.name for each in parties], shape.num_slots)
    assert words.startswith("switch 1 -> switch 0  contribute  sequence 0")
