"""The test kit judges: what is right passes, what is wrong fails in the right rows."""

import re
import tomllib
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from switches_under_test import Wrong, results, scripts_of, some, with_rule

import intswitch
from intswitch.conformance import Outcome, Skip, parse, read, run, scripts
from intswitch.conformance.difference import differing, first_difference, hexed
from intswitch.conformance.emulated import Emulated
from intswitch.conformance.script import FOLDERS, Datagram, Packets
from switch.config import SwitchConfig
from switch.protocol import HEADER_BYTES, OFFSET, Flag, Opcode, Overflow, Rule

PROTOCOL = Path(__file__).parent.parent / "docs" / "protocol.md"
AT_FLAGS = OFFSET["flags"]


@pytest.mark.parametrize("rule", Rule, ids=lambda rule: rule.name.lower())
def test_the_emulated_switch_passes(rule: Rule) -> None:
    chosen = scripts_of(rule)
    outcomes = list(run(chosen, Emulated()))
    assert set(results(outcomes).values()) == {"pass"}
    assert [each.sent for each in outcomes] == [each.num_packets for each in chosen]
    for outcome, script in zip(outcomes, chosen, strict=True):
        packets = [step for step in script.steps if isinstance(step, Packets)]
        expected = sum(len(step.expected or ()) for step in packets)
        assert outcome.received == expected, script.name
    assert not any(each.unchecked or each.reason for each in outcomes)


def test_every_script_says_what_it_shows_and_where_the_rule_stands() -> None:
    headings = re.findall(r"^#+ (.*)$", PROTOCOL.read_text(), re.MULTILINE)
    plain = [heading.replace("`", "") for heading in headings]
    for path in scripts():
        script = read(path)
        assert script.section in plain
        assert script.title.endswith("."), path.name
        if script.rule == Rule.SWITCHML:
            assert script.section == "The slot rule switchml"


def test_an_installed_reader_looks_where_the_wheel_puts_them() -> None:
    text = (PROTOCOL.parent.parent / "pyproject.toml").read_text()
    wheel = tomllib.loads(text)["tool"]["hatch"]["build"]["targets"]["wheel"]
    package = Path(intswitch.__file__).parent
    place = package.parent / wheel["force-include"]["tests/golden"]
    assert FOLDERS[0] == place
    assert {path.parent for path in scripts()} == {FOLDERS[1]}


# targets that are wrong in one way


def is_result(packet: bytes) -> bool:
    return packet[0] & 15 == Opcode.RESULT


def is_replay(packet: bytes) -> bool:
    return is_result(packet) and bool(packet[AT_FLAGS] & Flag.REPEATED)


def drops_replays(copies: list[Datagram]) -> list[Datagram]:
    return [each for each in copies if not is_replay(each[0])]


def does_not_mark_replays(copies: list[Datagram]) -> list[Datagram]:
    return [
        (
            packet[:AT_FLAGS]
            + bytes([packet[AT_FLAGS] & ~Flag.REPEATED])
            + packet[16:],
            to,
        )
        for packet, to in copies
    ]


def flips_a_byte(copies: list[Datagram]) -> list[Datagram]:
    """The lowest byte of the payload of results."""
    return [
        (packet[:-1] + bytes([packet[-1] ^ 1]), to)
        if is_result(packet) and len(packet) > HEADER_BYTES
        else (packet, to)
        for packet, to in copies
    ]


def forgets_the_last_copy(copies: list[Datagram]) -> list[Datagram]:
    return copies[:-1] if len(copies) > 1 else copies


def sends_twice(copies: list[Datagram]) -> list[Datagram]:
    return [*copies, *copies]


def wraps_silently(config: SwitchConfig) -> SwitchConfig:
    jobs = tuple(replace(job, overflow=Overflow.WRAP) for job in config.jobs)
    return replace(config, jobs=jobs)


def stale_as_ahead(counters: dict[str, int]) -> dict[str, int]:
    both = counters["ahead"] + counters["stale"]
    return {**counters, "ahead": both, "stale": 0}


def counts_twice(counters: dict[str, int]) -> dict[str, int]:
    return {**counters, "statuses": 2 * counters["statuses"]}


def judged(target: Wrong, name: str) -> Outcome:
    (outcome,) = run(some(name), target)
    return outcome


def failing(target: Wrong) -> set[str]:
    outcomes = list(run(scripts_of(Rule.SAFE), target))
    return {each.script for each in outcomes if each.result == "fail"}


def test_a_dropped_replay() -> None:
    target = Wrong(change=drops_replays)
    with_replays = {
        script.name
        for script in scripts_of(Rule.SAFE)
        if any("expect" in line and "repeated" in line for line in script.lines)
    }
    assert failing(target) == with_replays
    assert "safe_replay" in with_replays
    outcome = judged(target, "safe_replay")
    assert outcome.reason == "nothing came to worker 1 of job 7"
    assert outcome.found is None
    assert outcome.expected is not None
    assert outcome.statement.startswith("expect 1 result")
    text = read(next(p for p in scripts() if p.stem == "safe_replay")).lines
    assert outcome.line is not None
    assert text[outcome.line - 1] == outcome.statement


def test_a_replay_that_is_not_marked() -> None:
    outcome = judged(Wrong(change=does_not_mark_replays), "late_duplicate_safe")
    assert outcome.fields == ["flags: expected 2 (repeated), received 0"]
    assert outcome.line == 13
    assert outcome.expected == "11 12 0007 0002 ffff 00000000 0001 80 02  00000002"
    assert outcome.found == "11 12 0007 0002 ffff 00000000 0001 80 00  00000002"


def test_a_target_of_the_other_rule() -> None:
    """It answers what is stale, and adds a late duplicate."""
    failed = failing(Wrong(configured=with_rule(Rule.SWITCHML)))
    wrong = {"late_duplicate_safe", "safe_behind", "safe_ahead", "safe_empty_slot"}
    assert wrong <= failed
    assert not {"lanes_sum", "drop_malformed", "wire"} & failed


def test_a_flipped_byte_of_the_payload() -> None:
    target = Wrong(change=flips_a_byte)
    outcome = judged(target, "lanes_sum")
    assert outcome.fields == ["element 5: expected -1, received -2"]
    assert outcome.line == 6
    assert outcome.reason == "not the packet that worker 0 of job 7 must get"
    assert not {"drop_unknown_source", "drop_unknown_job"} & failing(target)


def test_a_copy_that_is_not_sent() -> None:
    outcome = judged(Wrong(change=forgets_the_last_copy), "recipient")
    assert outcome.reason == "nothing came to worker 2 of job 7"
    assert outcome.statement.startswith("expect 2 result")


def test_a_copy_too_many() -> None:
    outcome = judged(Wrong(change=sends_twice), "one_worker")
    assert outcome.reason == "worker 0 of job 7 got a packet that no line expects"
    assert outcome.statement.startswith("packet 0 contribute")
    assert outcome.expected is None
    assert outcome.found is not None


def test_an_overflow_that_is_not_told() -> None:
    target = Wrong(configured=wraps_silently)
    outcome = judged(target, "overflow_detect")
    assert outcome.fields == ["flags: expected 1 (overflow), received 0"]
    others = {"overflow_saturate", "flags", "two_jobs"}
    assert failing(target) == {"overflow_detect", *others}


def test_a_packet_that_is_counted_as_another() -> None:
    target = Wrong(count=stale_as_ahead)
    outcome = judged(target, "safe_behind")
    assert outcome.reason == "stale: expected 2, received 0"
    assert outcome.statement == "count stale 2"
    assert failing(target) >= {"safe_behind", "one_worker"}


def test_a_packet_that_is_counted_twice() -> None:
    """No line of the script asks for it: the total is looked at in any case."""
    outcome = judged(Wrong(count=counts_twice), "wire")
    assert outcome.reason.startswith("8 packets were sent, 10 counted")
    assert outcome.line is None


def test_a_counter_that_does_not_exist() -> None:
    outcome = judged(Wrong(count=lambda counters: {"accepted": 3}), "safe_duplicate")
    assert outcome.reason == "the target has no counter duplicate"


def test_no_counters_at_all() -> None:
    outcomes = list(run(some("safe_duplicate", "wire"), Wrong(count=lambda _: None)))
    assert results(outcomes) == {"safe_duplicate": "pass", "wire": "pass"}
    assert [each.unchecked for each in outcomes] == [3, 2]


def test_a_reset_that_does_nothing() -> None:
    class Keeps(Emulated):
        def reset(self, job: int) -> None:
            pass

    (outcome,) = run(some("reset"), Keeps())
    assert outcome.result == "fail"
    assert "worker: expected 0, received 2" in outcome.fields
    assert outcome.statement.startswith("expect 7.0 status sequence=0 worker=0")


def test_what_cannot_be_run_is_skipped_with_the_reason() -> None:
    class Cannot(Emulated):
        def reset(self, job: int) -> None:
            raise Skip("no reset here")

    first, second = run(some("reset", "wire"), Cannot())
    assert (first.result, first.reason) == ("skipped", "no reset here")
    assert first.statement == "reset 7"
    assert second.result == "pass"


@dataclass
class Dies(Emulated):
    """At its `lives`-th packet, as a program that crashes on it; or after it."""

    lives: int
    late: bool = False

    def configure(self, config: SwitchConfig) -> None:
        self.live(self.lives > 0)
        super().configure(config)

    def process(self, datagrams: list[Datagram]) -> list[Datagram]:
        self.lives -= len(datagrams)
        self.live(self.lives > 0 or self.late)
        return super().process(datagrams)

    def live(self, lives: bool) -> None:
        if not lives:
            raise ConnectionError("connection refused")


def test_a_target_that_dies_is_told_where() -> None:
    chosen = some("drop_malformed", "drop_opcode", "wire")
    dead, *others = run(chosen, Dies(20))
    assert (dead.result, dead.reason) == ("timeout", "connection refused")
    assert dead.statement == "packet 0 contribute sum int32 element_count=65535 : 1"
    gone = "the target is gone: connection refused"
    assert [(each.result, each.reason) for each in others] == [("skipped", gone)] * 2


def test_a_target_that_dies_between_two_scripts_is_no_success() -> None:
    chosen = some("drop_malformed", "drop_opcode", "wire")
    outcomes = run(chosen, Dies(chosen[0].num_packets, late=True))
    assert [each.result for each in outcomes] == ["pass", "timeout", "skipped"]


def test_a_target_that_is_not_there_is_an_error() -> None:
    with pytest.raises(ConnectionError, match="connection refused"):
        list(run(some("wire"), Dies(0)))


def test_a_counter_may_come_to_its_value_late() -> None:
    reads = []

    def late(counters: dict[str, int]) -> dict[str, int]:
        reads.append(counters)
        return counters if len(reads) % 3 == 0 else dict.fromkeys(counters, 0)

    assert judged(Wrong(count=late), "safe_duplicate").result == "fail"
    (outcome,) = run(some("safe_duplicate"), Wrong(count=late), patience=5.0)
    assert outcome.result == "pass"


def test_copies_to_different_workers_come_in_any_order() -> None:
    target = Wrong(change=lambda copies: copies[::-1])
    assert judged(target, "workers_64").result == "pass"


def test_copies_may_come_late() -> None:
    held: list[Datagram] = []

    def one_behind(copies: list[Datagram]) -> list[Datagram]:
        held.extend(copies)
        copies = held[:1]
        del held[:1]
        return copies

    assert judged(Wrong(change=one_behind), "lanes_sum").result == "pass"


# how a difference is told

PACKET = bytes.fromhex("11 0a 0007 0002 ffff 00000004 0002 fd 01 00000001 00000002")


@pytest.mark.parametrize(
    ("at", "value", "text"),
    [
        (0, 0x21, "format: expected 1, received 2"),
        (0, 0x13, "opcode: expected 1 (result), received 3 (status)"),
        (
            1,
            0x42,
            "kind: expected 0x0a (sum int16>int32), received 0x42 (max int8>int32)",
        ),
        (1, 0xFF, "kind: expected 0x0a (sum int16>int32), received 0xff"),
        (3, 8, "job: expected 7, received 8"),
        (5, 3, "worker: expected 2, received 3"),
        (7, 0, "recipient: expected 65535, received 65280"),
        (11, 5, "sequence: expected 4, received 5"),
        (13, 1, "element_count: expected 2, received 1"),
        (14, 4, "exponent: expected -3, received 4"),
        (15, 7, "flags: expected 1 (overflow), received 7 (overflow+repeated+clipped)"),
        (19, 9, "element 0: expected 1, received 9"),
    ],
)
def test_the_field_that_differs_is_named(at: int, value: int, text: str) -> None:
    other = PACKET[:at] + bytes([value]) + PACKET[at + 1 :]
    assert list(differing(PACKET, other)) == [text]


@pytest.mark.parametrize(
    ("other", "text"),
    [
        (PACKET[:3], "length: expected 24 bytes, received 3"),
        (b"", "length: expected 24 bytes, received 0"),
        (PACKET[:-1], "payload: expected 8 bytes, received 7"),
        (PACKET + b"\0", "payload: expected 8 bytes, received 9"),
    ],
)
def test_the_length_that_differs_is_named(other: bytes, text: str) -> None:
    assert list(differing(PACKET, other)) == [text]


def test_many_elements_are_counted() -> None:
    ours, theirs = (bytes([0x11, 0]) + bytes(14) + bytes([x] * 9) for x in (1, 2))
    assert list(differing(ours, theirs))[2:] == [
        "element 2: expected 1, received 2",
        "... and 6 more elements",
    ]


def test_a_bitmap_is_shown_whole() -> None:
    ours, theirs = (
        bytes.fromhex("13 00 0007 0001 ffff 00000002 0008 80 00") + bytes([x] * 8)
        for x in (1, 2)
    )
    assert list(differing(ours, theirs)) == [
        "payload: expected 0101010101010101, received 0202020202020202"
    ]


@pytest.mark.parametrize("length", range(20))
def test_any_packet_can_be_shown(length: int) -> None:
    for byte in (0, 0x13, 0xFF):
        packet = bytes([byte]) * length
        assert hexed(packet).replace(" ", "") == packet.hex() or not packet
        assert packet == PACKET or list(differing(PACKET, packet))
    assert hexed(b"") == "(empty)"


def test_differences_are_sought_receiver_by_receiver() -> None:
    a, b = ("10.0.0.0", 1), ("10.0.0.1", 1)
    expected = [(b"x", a), (b"y", b), (b"z", a)]
    assert first_difference(expected, [(b"y", b), (b"x", a), (b"z", a)]) is None
    found = first_difference(expected, [(b"y", b), (b"z", a), (b"x", a)])
    assert found is not None
    assert (found.receiver, found.place) == (a, 1)


def test_the_line_is_that_of_the_expectation() -> None:
    script = parse(
        "job 7 workers=2\n"
        "packet 0 query\n"
        "expect 0 status worker=0 : bitmap\n"
        "expect 1 hex 00\n"
    )
    (outcome,) = run([script], Emulated())
    assert (outcome.line, outcome.statement) == (4, "expect 1 hex 00")
    assert outcome.script == "script"
