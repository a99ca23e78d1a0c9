"""The golden packets: the emulated switch is held to every file, and so is the model
that tells which rows of the decision tables the files reach.
"""

import contextlib
import itertools
from collections import Counter
from pathlib import Path
from typing import Any, Protocol

import golden
import pytest
from golden import Count, Datagram, Packets, Reset, Script, ScriptError
from hypothesis import given
from hypothesis import strategies as st
from model import COUNTERS, SAFE_ROWS, SWITCHML_ROWS, TREE_ROWS, Model
from scapy_layer import Aggregation

from switch.pipeline import Pipeline
from switch.protocol import HEADER_BYTES, OFFSET, DropReason, Rule

SCRIPTS = golden.scripts(trees=True)
# a train is too long for plain Python, and what it causes is not written down
SHORT_SCRIPTS = [path for path in SCRIPTS if "\ntrain" not in path.read_text()]


class Switch(Protocol):
    def process(self, datagrams: list[Datagram]) -> list[Datagram]: ...
    def counters(self, job: int | None = None) -> dict[str, int]: ...
    def reset(self, job: int) -> None: ...


def by_name(path: Path) -> str:
    return path.stem


def shown(datagrams: list[Datagram]) -> list[str]:
    """One readable line a packet, so that a failure shows which bytes differ."""
    ends = [0, *list(OFFSET.values())[1:], HEADER_BYTES]
    lines = []
    for packet, (address, _) in datagrams:
        fields = [packet[a:b].hex() for a, b in itertools.pairwise(ends)]
        lines.append(" ".join([address, *fields, packet[HEADER_BYTES:].hex()]))
    return lines


def replay(script: Script, switch: Switch) -> None:
    """Packet by packet, with every count where it stands."""
    for step in script.steps:
        where = f"{script.path.name}:{step.line}"
        if isinstance(step, Packets):
            copies = switch.process(step.sent)
            if step.expected is not None:
                assert shown(copies) == shown(step.expected), where
        elif isinstance(step, Count):
            assert switch.counters(step.job)[step.name] == step.value, where
        else:
            switch.reset(step.job)


def replay_in_batches(script: Script, switch: Switch) -> None:
    """All packets between two resets in one call; counts are not looked at."""
    steps = [step for step in script.steps if not isinstance(step, Count)]
    for is_reset, group in itertools.groupby(
        steps, lambda step: isinstance(step, Reset)
    ):
        if is_reset:
            for step in group:
                switch.reset(step.job)
            continue
        batch = list(group)
        copies = switch.process([packet for step in batch for packet in step.sent])
        expected = [packet for step in batch for packet in step.expected]
        assert shown(copies) == shown(expected)


def check_identities(counters: dict[str, int], packets: int) -> None:
    """Every packet is counted exactly once."""
    once = ["accepted", "replays", "statuses", *(r.name.lower() for r in DropReason)]
    assert sum(counters[name] for name in once) == packets


def num_packets(script: Script) -> int:
    return sum(len(step.sent) for step in script.steps if isinstance(step, Packets))


@pytest.mark.parametrize("path", SCRIPTS, ids=by_name)
def test_switch(path: Path) -> None:
    script = golden.read(path)
    switch = Pipeline(script.config)
    replay(script, switch)
    check_identities(switch.counters(), num_packets(script))


@pytest.mark.parametrize("path", SHORT_SCRIPTS, ids=by_name)
def test_switch_in_one_batch(path: Path) -> None:
    script = golden.read(path)
    one_by_one, batched = Pipeline(script.config), Pipeline(script.config)
    replay(script, one_by_one)
    replay_in_batches(script, batched)
    for job in (None, *(job.job for job in script.jobs)):
        assert batched.counters(job) == one_by_one.counters(job)


@pytest.mark.parametrize("path", SHORT_SCRIPTS, ids=by_name)
def test_uncompiled_switch(path: Path, uncompiled: Any) -> None:
    script = golden.read(path)
    replay(script, uncompiled.Pipeline(script.config))


@pytest.mark.parametrize("path", SCRIPTS, ids=by_name)
def test_model(path: Path) -> None:
    script = golden.read(path)
    model = Model(script.config)
    replay(script, model)
    check_identities(model.counters(), num_packets(script))


def ran(path: Path) -> tuple[Rule, Model]:
    script = golden.read(path)
    model = Model(script.config)
    replay(script, model)
    return script.rule, model


@pytest.fixture(scope="module")
def models() -> list[tuple[Rule, Model]]:
    return [ran(path) for path in SCRIPTS]


@pytest.mark.parametrize(
    ("rule", "rows"),
    [(Rule.SAFE, SAFE_ROWS + TREE_ROWS), (Rule.SWITCHML, SWITCHML_ROWS)],
)
def test_every_row_of_the_decision_tables_is_reached(
    models: list[tuple[Rule, Model]], rule: Rule, rows: tuple[str, ...]
) -> None:
    reached = Counter[str]()
    for of_rule, model in models:
        if of_rule == rule:
            reached += model.rows
    assert set(reached) == set(rows)


def test_every_counter_is_reached(models: list[tuple[Rule, Model]]) -> None:
    for rule in Rule:
        total = Counter[str]()
        for of_rule, model in models:
            if of_rule == rule:
                total += Counter(model.counters())
        slot_free = ("malformed", "unknown_job", "unknown_source", "opcode")
        unreached = set(COUNTERS) - set(total)
        # switchml compares no sequences, and the earlier checks are the same code
        expected = {"ahead", "stale", *slot_free} if rule == Rule.SWITCHML else set()
        assert unreached == expected, rule


def test_every_combination_of_lanes_is_reduced(
    models: list[tuple[Rule, Model]],
) -> None:
    reached = {lanes for _, model in models for lanes in model.lanes}
    widths = ("int8", "int16", "int32")
    pairs = itertools.combinations_with_replacement(widths, 2)
    wanted = {
        (reduction, element, result)
        for reduction, (element, result) in itertools.product(
            ("sum", "max", "or"), pairs
        )
    } | set(
        itertools.product(("wrap", "saturate", "detect"), ("below", "above"), widths)
    )
    wanted |= set(itertools.product(("sum",), ("code4", "code8"), widths))
    assert reached == wanted


@pytest.mark.parametrize("path", SCRIPTS, ids=by_name)
def test_scapy_dissects_every_packet(path: Path) -> None:
    for step in golden.read(path).steps:
        if isinstance(step, Packets):
            for packet, _ in [*step.sent[:100], *(step.expected or [])]:
                if len(packet) >= HEADER_BYTES:
                    layer = Aggregation(packet)
                    layer.clear_cache()
                    assert bytes(layer).hex(" ") == packet.hex(" ")


@pytest.mark.parametrize("path", SCRIPTS, ids=by_name)
def test_the_first_line_says_what_a_file_shows(path: Path) -> None:
    first = path.read_text().splitlines()[0]
    assert first.startswith("# ")
    assert len(first) > 20


# The reader itself.

JOB = "job 7 workers=2\n"


def test_a_packet_in_words_is_the_packet_in_bytes() -> None:
    words = (
        "contribute sum int16>int32 sequence=0x10 exponent=-3 flags=clipped : 1 -2*2"
    )
    script = golden.parse(f"{JOB}packet 1 {words}\n")
    step = script.steps[0]
    assert isinstance(step, Packets)
    packet = "10 0a 0007 0001 ffff 00000010 0003 fd 04 0001 fffe fffe"
    assert step.sent == [(bytes.fromhex(packet), ("10.0.0.1", 5000))]


def test_codes_in_words() -> None:
    text = (
        "job 7 workers=2 code4=-3..3,9*8,-0x10 code8=0*255,1\n"
        "packet 0 contribute sum code4>int16 : 1 15 0 10*3\n"
        "packet 0 contribute sum code8>int16 : 1 255\n"
    )
    script = golden.parse(text)
    assert script.jobs[0].code4 == (*range(-3, 4), *[9] * 8, -16)
    assert script.jobs[0].code8 == (*[0] * 255, 1)
    packets = ["10 19 0007 0000 ffff 00000000 0006 80 00 1f 0a aa",
               "10 21 0007 0000 ffff 00000000 0002 80 00 01 ff"]  # fmt: skip
    for step, packet in zip(script.steps, packets, strict=True):
        assert isinstance(step, Packets)
        assert step.sent[0][0] == bytes.fromhex(packet)


def test_a_star_is_one_copy_for_each_worker() -> None:
    text = f"{JOB}packet 0 query\nexpect * hex 01 02\nexpect none\n"
    step = golden.parse(text).steps[0]
    assert isinstance(step, Packets)
    assert step.expected == [
        (b"\1\2", ("10.0.0.0", 5000)),
        (b"\1\2", ("10.0.0.1", 5000)),
    ]


@pytest.mark.parametrize(
    "line",
    [
        "paket 0 query",
        "packet 0",
        "packet 2 query",
        "packet 9.0 query",
        "packet 0 query sequence",
        "packet 0 query sequnce=1",
        "packet 0 query sequence=1 sequence=2",
        "packet 0 query sequence=4294967296x",
        "packet 0 contribute sum",
        "packet 0 contribute sum int64",
        "packet 0 contribute sum int8 : 128",
        "packet 0 contribute sum code8>int8 : 256",
        "packet 0 contribute sum code8>int8 : -1",
        "packet 0 contribute sum code4>int8 : 16 1",
        "packet 0 contribute sum code4>int8 : -1 1",
        "packet 0 contribute sum code4>int8 : 1",
        "job 8 workers=2 code4=red",
        "job 8 workers=2 code4=1..",
        "packet 0 contribute sum int8 flags=red",
        "packet 0 hex 1",
        "expect none",
        "count accepted",
        "reset 8",
        "job 8",
        "job 8 workers=2 overflow=never",
        "job 8 workers=2 of=3 ranks=0,1-x",
        "job 8 workers=2 ranks=0,1",
        "packet parent result",
        "switch rule=fast",
        "train 0 query sequence=1",
    ],
)
def test_a_mistake_names_its_file_and_line(line: str) -> None:
    with pytest.raises(ScriptError, match=f"^here.txt:2: {line[:5]}"):
        golden.parse(f"{JOB}{line}\n", Path("here.txt"))


@given(st.text(alphabet="packet 07.:=*hexquery#\n", max_size=60))
def test_any_text_is_read_or_refused(text: str) -> None:
    with contextlib.suppress(ScriptError):
        golden.parse(JOB + text)


@pytest.mark.parametrize(
    "text",
    [
        "packet 0 contribute sum int8 : 1\nexpect 0 result sum int8 : 1",
        "packet 0 query\nexpect 0 status worker=1 : bitmap",
        "packet 0 query",
        "count accepted 1",
    ],
)
def test_a_wrong_expectation_fails(text: str) -> None:
    script = golden.parse(JOB + text)
    with pytest.raises(AssertionError):
        replay(script, Model(script.config))
