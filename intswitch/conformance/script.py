"""Reads the golden packets: scripts of packets in and packets out.

The language is described in tests/golden/README.md. Nothing here knows a switch; a
mistake in a script raises ScriptError, which names the file and the line.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from intswitch.conformance.script_jobs import JOB_FIELDS, job_of
from switch import protocol
from switch.config import Address, JobConfig, SwitchConfig
from switch.protocol import (
    ELEMENT_BITS,
    EVERY_WORKER,
    NO_EXPONENT,
    ElementType,
    Flag,
    Opcode,
    Reduction,
    Rule,
)
from switch.tree import ranks_behind, worker_fields

_PACKAGE = Path(__file__).resolve().parent.parent
FOLDERS = (_PACKAGE / "golden", _PACKAGE.parent / "tests" / "golden")
"""Where the golden packets lie: installed, or in the sources."""

# What a script is about, by how its name begins: a heading of docs/protocol.md.
SECTIONS = {
    "codes": "Codes",
    "drop_": "Checks",
    "late_duplicate_safe": "The slot rule safe",
    "late_duplicate_switchml": "The slot rule switchml",
    "one_worker_switchml": "The slot rule switchml",
    "one_worker": "The slot rule safe",
    "overflow_": "Overflow",
    "reset": "The switch's file",
    "safe_": "The slot rule safe",
    "sequence_wrap": "The slot rule safe",
    "switchml_": "The slot rule switchml",
    "tree_": "Trees of switches",
    "two_jobs": "Counters",
    "": "Packets",
}
STRANGER: Address = ("192.0.2.1", 9)
FIELDS = (
    "sequence",
    "job",
    "worker",
    "recipient",
    "exponent",
    "flags",
    "element_count",
    "format",
    "kind",
)

Datagram = tuple[bytes, Address]


class ScriptError(ValueError):
    """A line that is no statement."""


@dataclass(frozen=True)
class Packets:
    """`packet` or `train`: what enters, and what must leave."""

    line: int
    sent: list[Datagram]
    expected: list[Datagram] | None = field(default_factory=list)
    """None: whatever."""
    expect_lines: list[int] = field(default_factory=list)
    """Where each of the expected packets stands."""


@dataclass(frozen=True)
class Count:
    line: int
    name: str
    value: int
    job: int | None


@dataclass(frozen=True)
class Reset:
    line: int
    job: int


Step = Packets | Count | Reset


@dataclass
class Script:
    """One file."""

    path: Path
    rule: Rule = Rule.SAFE
    jobs: list[JobConfig] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        return self.path.stem

    @property
    def title(self) -> str:
        """What it shows: the comment that it begins with."""
        comment = itertools.takewhile(lambda line: line.startswith("#"), self.lines)
        return " ".join(line.lstrip("# ") for line in comment)

    @property
    def section(self) -> str:
        """The part of docs/protocol.md that it holds a switch to."""
        return next(
            heading
            for start, heading in SECTIONS.items()
            if self.name.startswith(start)
        )

    @property
    def num_packets(self) -> int:
        """That enter the switch."""
        return sum(len(step.sent) for step in self.steps if isinstance(step, Packets))

    @property
    def config(self) -> SwitchConfig:
        """The smallest switch that has the script's jobs."""
        return SwitchConfig(
            rule=self.rule,
            num_slots=sum(job.num_slots for job in self.jobs),
            slot_bytes=max(job.slot_bytes for job in self.jobs),
            jobs=tuple(self.jobs),
        )

    def job(self, number: int) -> JobConfig:
        for job in self.jobs:
            if job.job == number:
                return job
        raise ScriptError(f"job {number} is not in this file")


def scripts(trees: bool = False) -> list[Path]:
    """The files of the golden packets, by name.

    Those about trees only where asked for: a switch in a tree has jobs that workers do
    not join.
    """
    found = {path.name: path for folder in FOLDERS for path in folder.glob("*.txt")}
    wanted = sorted(name for name in found if trees or not name.startswith("tree_"))
    return [found[name] for name in wanted]


def read(path: Path) -> Script:
    return parse(path.read_text(), path)


def parse(text: str, path: Path = Path("script")) -> Script:
    script = Script(path, lines=text.splitlines())
    for number, line in enumerate(script.lines, 1):
        words = line.split("#")[0].split()
        if not words:
            continue
        try:
            STATEMENTS[words[0]](script, number, words[1:])
        except (ValueError, KeyError, IndexError, OverflowError) as error:
            raise ScriptError(f"{path}:{number}: {line.strip()}: {error!r}") from error
    return script


# statements


def read_switch(script: Script, line: int, words: list[str]) -> None:
    script.rule = Rule[assignments(words, ("rule",)).get("rule", "safe").upper()]


def read_job(script: Script, line: int, words: list[str]) -> None:
    given = assignments(words[1:], JOB_FIELDS)
    script.jobs.append(job_of(int(words[0]), given, len(script.jobs)))


def read_packet(script: Script, line: int, words: list[str]) -> None:
    address, packet = packet_at(script, words)
    script.steps.append(Packets(line, [(packet, address)]))


def read_train(script: Script, line: int, words: list[str]) -> None:
    found = re.search(r"sequence=(\d+)\.\.(\d+) step=(\d+)", " ".join(words))
    if not found:
        raise ScriptError("a train needs sequence=A..B step=C")
    first, last, step = (int(digits) for digits in found.groups())
    rest = " ".join(words).replace(found[0], "sequence=0").split()
    address, packet = packet_at(script, rest)
    at = protocol.OFFSET["sequence"]
    sent = [
        (packet[:at] + sequence.to_bytes(4, "big") + packet[at + 4 :], address)
        for sequence in range(first, last + 1, step)
    ]
    script.steps.append(Packets(line, sent, expected=None))


def read_expect(script: Script, line: int, words: list[str]) -> None:
    step = script.steps[-1]
    if not isinstance(step, Packets) or step.expected is None:
        raise ScriptError("no packet before it")
    if words == ["none"]:
        return
    for destination in destinations(script, words[0]):
        address, packet = packet_at(script, [destination, *words[1:]])
        step.expected.append((packet, address))
        step.expect_lines.append(line)


def destinations(script: Script, word: str) -> list[str]:
    """The workers that `*` or `8.*` stands for; else the word itself."""
    if not word.endswith("*"):
        return [word]
    prefix = word[:-1]
    job = script.job(int(prefix[:-1])) if prefix else script.jobs[0]
    return [f"{prefix}{rank}" for rank in range(len(job.workers))]


def read_count(script: Script, line: int, words: list[str]) -> None:
    name, value, *rest = words
    job = assignments(rest, ("job",)).get("job")
    script.steps.append(Count(line, name, int(value), int(job) if job else None))


def read_reset(script: Script, line: int, words: list[str]) -> None:
    script.steps.append(Reset(line, script.job(int(words[0])).job))


STATEMENTS = {
    "switch": read_switch,
    "job": read_job,
    "packet": read_packet,
    "train": read_train,
    "expect": read_expect,
    "count": read_count,
    "reset": read_reset,
}


# packets


def packet_at(script: Script, words: list[str]) -> tuple[Address, bytes]:
    """The address that the first word names, and the packet that the others make."""
    job, rank = script.jobs[0], 0
    address = STRANGER
    if words[0] != "stranger":
        *prefix, place = words[0].split(".")
        job = script.job(int(prefix[0])) if prefix else job
        if place == "parent":
            address, rank = parent_of(job), sum(map(len, ranks_behind(job)))
        else:
            address = job.workers[int(place)]
            rank = worker_fields(job)[int(place)]
    if words[1] == "hex":
        return address, bytes.fromhex("".join(words[2:]))
    return address, packet_of(words[1:], job, rank)


def parent_of(job: JobConfig) -> Address:
    if job.tree is None or job.tree.parent is None:
        raise ScriptError(f"job {job.job} has no parent")
    return job.tree.parent


def packet_of(words: list[str], job: JobConfig, rank: int) -> bytes:
    """The bytes of `OPCODE [REDUCTION TYPE] [FIELD=VALUE ...] [: PAYLOAD]`."""
    head, payload_words = split_at_colon(words)
    opcode = Opcode[head[0].upper()]
    positional = [word for word in head[1:] if "=" not in word]
    given = assignments([word for word in head[1:] if "=" in word], FIELDS)
    reduction, element_type, result_type = kind_of(positional)
    lane = result_type if opcode in (Opcode.RESULT, Opcode.STATUS) else element_type
    payload = payload_of(payload_words, lane)
    element_count = 8 * len(payload) // ELEMENT_BITS[lane]
    kind = protocol.kind_of(reduction, element_type, result_type)
    all_or_rank = job.num_workers if opcode == Opcode.RESULT else rank
    packet = protocol.emit(
        opcode=opcode,
        kind=number(given, "kind", kind),
        job=number(given, "job", job.job),
        worker=number(given, "worker", all_or_rank),
        recipient=number(given, "recipient", EVERY_WORKER, all=EVERY_WORKER),
        sequence=number(given, "sequence", 0),
        element_count=number(given, "element_count", element_count),
        exponent=number(given, "exponent", NO_EXPONENT, none=NO_EXPONENT),
        flags=flags_of(given.get("flags", "0")),
        payload=payload,
    )
    form = number(given, "format", protocol.FORMAT)
    return bytes([form << 4 | opcode]) + packet[1:]


def split_at_colon(words: list[str]) -> tuple[list[str], list[str]]:
    if ":" not in words:
        return words, []
    at = words.index(":")
    return words[:at], words[at + 1 :]


def assignments(words: Iterable[str], allowed: tuple[str, ...]) -> dict[str, str]:
    given = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals or name not in allowed or name in given:
            raise ScriptError(f"{word}: once each, {', '.join(allowed)} =VALUE")
        given[name] = value
    return given


def number(given: dict[str, str], name: str, default: int, **named: int) -> int:
    word = given.get(name)
    if word is None:
        return default
    return named[word] if word in named else int(word, 0)


def flags_of(word: str) -> int:
    if word[0].isdigit():
        return int(word, 0)
    flags = 0
    for name in word.split("+"):
        flags |= Flag[name.upper()]
    return flags


def kind_of(words: list[str]) -> tuple[Reduction, ElementType, ElementType]:
    if not words:
        return Reduction.SUM, ElementType.INT8, ElementType.INT8
    reduction, types = words
    element_type, _, result_type = types.partition(">")
    return (
        Reduction[reduction.upper()],
        ElementType[element_type.upper()],
        ElementType[(result_type or element_type).upper()],
    )


def payload_of(words: list[str], lane: ElementType) -> bytes:
    if words[:1] == ["hex"]:
        return bytes.fromhex("".join(words[1:]))
    if words[:1] == ["bitmap"]:
        return sum(1 << int(rank) for rank in words[1:]).to_bytes(8, "big")
    elements: list[int] = []
    for word in words:
        value, _, times = word.partition("*")
        elements += [int(value, 0)] * int(times or "1")
    if lane == ElementType.CODE4:
        digits = [f"{code:x}" for code in elements]
        if any(len(digit) > 1 for digit in digits) or len(digits) % 2:
            raise ScriptError("code4: an even number of codes, 0 to 15")
        return bytes.fromhex("".join(digits))
    width, signed = ELEMENT_BITS[lane] // 8, lane != ElementType.CODE8
    return b"".join(each.to_bytes(width, "big", signed=signed) for each in elements)
