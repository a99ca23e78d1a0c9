"""What a link does to packets: loss, duplication, reordering, delay, corruption.

One direction of a link is a record of LINE: its probabilities, its state, what it has
done so far. Whatever happens to the n-th packet of a line depends on the line's seed,
on n and on the burst it is in, so that a run repeats. Who holds packets back, and until
when, is the matter of `ports.py` at a real switch, and of the simulator's links there.
"""

from dataclasses import fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from switch.compiled import kernel
from switch.config import LinkFaults

Bytes = NDArray[np.uint8]
Line = Any  # one record of LINE

IN, OUT = 0, 1

# The fields of LinkFaults, and what a line remembers and counts.
INTEGERS = ("overtaken_by", "flipped_bits")
COUNTS = ("seen", "lost", "duplicated", "held_back", "caught", "missed")
LINE = np.dtype(
    [
        *(
            (each.name, np.int64 if each.name in INTEGERS else np.float64)
            for each in fields(LinkFaults)
        ),
        ("key", np.uint64),  # the seed of its draws
        ("in_burst", np.int64),  # 1: in the bad state
        ("waits", np.int64),  # packets that wait to be overtaken
        *((name, np.int64) for name in COUNTS),
    ]
)

# What may happen to a packet, or-ed: nothing, or some of these. LOSE comes alone.
PASS, LOSE, DUPLICATE, HOLD_BACK, CORRUPT = 0, 1, 2, 4, 8
# Draws of one packet, numbered: in or out of a burst, its fate, which bits.
DRAWS = 64
BURST, LOSS, TWIN, ORDER, DAMAGE, FIRST_BIT = range(6)
MOST_FLIPPED = DRAWS - FIRST_BIT

UDP_HEADER_BYTES = 8
CHECKSUM_AT = 6  # in the UDP header
WORD = 0xFFFF


def line_of(faults: LinkFaults, seed: int, direction: int, number: int) -> Any:
    """A record of LINE at its beginning.

    Lines of different seeds, directions (IN, OUT) or numbers draw independently.
    """
    line = np.zeros((), LINE)
    for each in fields(faults):
        line[each.name] = getattr(faults, each.name)
    line["key"] = key_of(seed, direction, number)
    return line


@kernel
def mixed(z: Any) -> Any:
    """The finalizer of SplitMix64."""
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


@kernel
def key_of(seed: int, direction: int, number: int) -> Any:
    z = np.uint64(seed) + np.uint64(direction + 1) * np.uint64(0xD1342543DE82EF95)
    return mixed(mixed(z) + np.uint64(number + 1) * np.uint64(0xDA942042E4DD58B5))


@kernel
def uniform(key: Any, number: int) -> float:
    """A number in [0, 1): draw `number` of a key (SplitMix64)."""
    z = mixed(np.uint64(key) + np.uint64(number + 1) * np.uint64(0x9E3779B97F4A7C15))
    return float(z >> np.uint64(11)) * 2.0**-53


@kernel
def draw(line: Line, what: int) -> float:
    """Of the packet at hand."""
    return uniform(line.key, line.seen * DRAWS + what)


@kernel
def fate(line: Line) -> int:
    """What happens to the next packet of a line: PASS, LOSE, or some of the others.

    To be asked once a packet. The twin of one that is doubled is neither corrupted nor
    held back.
    """
    line.seen += 1
    if line.burst_enter > 0.0:
        # Gilbert (1960), Elliott (1963): a Markov chain of two states, a step a packet
        change = line.burst_leave if line.in_burst else line.burst_enter
        if draw(line, BURST) < change:
            line.in_burst = 1 - line.in_burst
    loss = line.burst_loss if line.in_burst else line.loss
    if loss > 0.0 and draw(line, LOSS) < loss:
        line.lost += 1
        return LOSE
    what = PASS
    if line.duplication > 0.0 and draw(line, TWIN) < line.duplication:
        line.duplicated += 1
        what |= DUPLICATE
    if line.reordering > 0.0 and draw(line, ORDER) < line.reordering:
        line.held_back += 1
        what |= HOLD_BACK
    if line.corruption > 0.0 and draw(line, DAMAGE) < line.corruption:
        what |= CORRUPT
    return what


@kernel
def checksum_of(header: Bytes, payload: Bytes) -> int:
    """The one's complement sum of a datagram's 16-bit words (RFC 768, RFC 1071).

    `header` is UDP's, 8 bytes; its checksum counts as well. The pseudo header adds a
    constant that no link changes, and is left out.
    """
    total = np.int64(0)
    for at in range(header.size):
        total += np.int64(header[at]) << (0 if at & 1 else 8)
    for at in range(payload.size):
        total += np.int64(payload[at]) << (0 if at & 1 else 8)
    while total >> 16:
        total = (total & WORD) + (total >> 16)
    return int(total)


@kernel
def write_header(header: Bytes, source: int, destination: int, payload: Bytes) -> None:
    """A UDP header with the right checksum, which is never 0: that means none."""
    length = UDP_HEADER_BYTES + payload.size
    for at, value in ((0, source), (2, destination), (4, length), (CHECKSUM_AT, 0)):
        header[at] = (value >> 8) & 0xFF
        header[at + 1] = value & 0xFF
    checksum = ~checksum_of(header, payload) & WORD
    checksum = checksum if checksum != 0 else WORD
    header[CHECKSUM_AT] = checksum >> 8
    header[CHECKSUM_AT + 1] = checksum & 0xFF


@kernel
def flip(line: Line, header: Bytes, payload: Bytes) -> None:
    """Flip `flipped_bits` bits of the packet at hand, anywhere in its datagram.

    One in each of as many equal parts of it, so that none is flipped back.
    """
    bits = 8 * (header.size + payload.size)
    count = min(line.flipped_bits, MOST_FLIPPED, bits)
    for part in range(count):
        at = int((part + draw(line, FIRST_BIT + part)) * bits / count)
        byte, mask = at >> 3, np.uint8(1 << (at & 7))
        if byte < header.size:
            header[byte] ^= mask
        else:
            payload[byte - header.size] ^= mask


@kernel
def corrupt(line: Line, header: Bytes, payload: Bytes) -> bool:
    """Corrupt the datagram at hand; whether it still reaches its receiver.

    What UDP's checksum catches is dropped there. What it misses arrives, unless the
    ports or the length have changed: then it is nobody's, and lost.
    """
    write_header(header, line.seen & WORD, WORD, payload)
    before = addressed(header)
    flip(line, header, payload)
    unchecked = header[CHECKSUM_AT] == 0 and header[CHECKSUM_AT + 1] == 0
    if not unchecked and checksum_of(header, payload) != WORD:
        line.caught += 1
        return False
    if addressed(header) != before:
        line.lost += 1
        return False
    line.missed += 1
    return True


@kernel
def addressed(header: Bytes) -> int:
    """Ports and length, in one number."""
    number = np.int64(0)
    for at in range(CHECKSUM_AT):
        number = number << 8 | np.int64(header[at])
    return int(number)
