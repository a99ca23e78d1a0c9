"""What the explorer found, in words: a packet trace and a table."""

from collections.abc import Sequence

import numpy as np
from rich.table import Table

from intswitch.explore.search import Event, Finding, Outcome
from intswitch.explore.shapes import Packet, Shape
from switch.parser import parse
from switch.protocol import HEADER_BYTES, Flag, Opcode


def describe(packet: Packet, names: Sequence[str], num_slots: int) -> str:
    """A packet in one line: who, what, which chunk, the number that it carries."""
    if packet.source == packet.destination:
        return f"{names[packet.source]}: version of a slot {packet.data[0]} is overdue"
    if len(packet.data) == 1:
        told = f"has begun aggregation {packet.data[0] - 1}"
        return f"{names[packet.source]} -> {names[packet.destination]}  {told}"
    header = parse(np.frombuffer(packet.data, np.uint8))
    opcode = Opcode(header.opcode)
    payload = packet.data[HEADER_BYTES:]
    words = [
        f"{names[packet.source]} -> {names[packet.destination]}",
        opcode.name.lower(),
        f"sequence {header.sequence}",
        f"slot {header.sequence % num_slots}",
        f"version {header.sequence // num_slots % 2}",
    ]
    if opcode in (Opcode.CONTRIBUTE, Opcode.RESULT) and payload:
        words.append(str(int.from_bytes(payload, "big", signed=True)))
    if opcode == Opcode.STATUS:
        words.append(f"bitmap {int.from_bytes(payload, 'big'):b}")
    if header.flags & Flag.REPEATED:
        words.append("again")
    return "  ".join(words)


def trace(finding: Finding, num_slots: int) -> str:
    """The deliveries that lead to it, one a line, and what each did."""
    seen: set[Packet] = set()
    lines = []
    for number, event in enumerate(finding.history, 1):
        late = " (a copy that the network kept)" if event.packet in seen else ""
        seen.add(event.packet)
        packet = describe(event.packet, finding.names, num_slots)
        lines.append(f"{number:3}  {packet}{late}")
        lines.append(f"       {finding.names[event.packet.destination]}: {did(event)}")
    return "\n".join([*lines, f"  => {finding.what}"])


def did(event: Event) -> str:
    return event.did or "nothing"


def verdict(outcome: Outcome) -> str:
    if outcome.wrong:
        return "wrong sum"
    if outcome.stuck:
        return "stuck"
    return "all right, exhausted" if outcome.exhausted else "all right so far"


def table(found: Sequence[tuple[Shape, Outcome, float]]) -> Table:
    result = Table("rule", "tree", "workers", "slots", "chunks", "first sequence",
                   "states", "deliveries", "seconds", "verdict")  # fmt: skip
    for shape, outcome, seconds in found:
        more = {"stragglers": shape.stragglers, "rejoin": shape.rejoin}
        rule = [shape.rule.name.lower(), *(each for each in more if more[each])]
        result.add_row(
            ",\n".join(rule),
            "" if shape.tree is None else str(shape.tree).replace(" ", ""),
            str(shape.num_workers),
            str(shape.num_slots),
            "+".join(map(str, shape.aggregations)),
            str(shape.first),
            f"{outcome.states:,}",
            f"{outcome.deliveries:,}",
            f"{seconds:.1f}",
            verdict(outcome),
        )
    return result
