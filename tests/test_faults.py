"""What lines do to packets: as often as asked for, seeded, and nothing besides."""

from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from switch.compiled import plain
from switch.config import LinkFaults
from switch.faults import (
    CORRUPT,
    DUPLICATE,
    HOLD_BACK,
    IN,
    LINE,
    LOSE,
    OUT,
    UDP_HEADER_BYTES,
    WORD,
    checksum_of,
    corrupt,
    fate,
    flip,
    key_of,
    line_of,
    uniform,
    write_header,
)
from switch.tap import wrap

MANY = 20_000


def line_with(seed: int = 1, direction: int = IN, number: int = 0, **what: Any) -> Any:
    """As kernels like it."""
    lines = np.zeros(1, LINE).view(np.recarray)
    lines[0] = line_of(LinkFaults(**what), seed, direction, number)
    return plain(lines)[0]


def fates(line: Any, count: int = MANY) -> list[int]:
    return [fate(line) for _ in range(count)]


def near(found: int, probability: float, count: int = MANY) -> bool:
    """Within five standard deviations of a binomial."""
    deviation = (probability * (1 - probability) * count) ** 0.5
    return abs(found - probability * count) <= 5 * deviation


def test_a_perfect_line_does_nothing() -> None:
    assert set(fates(line_with())) == {0}


@pytest.mark.parametrize(
    ("name", "bit"),
    [
        ("loss", LOSE),
        ("duplication", DUPLICATE),
        ("reordering", HOLD_BACK),
        ("corruption", CORRUPT),
    ],
)
@pytest.mark.parametrize("probability", [0.01, 0.3, 1.0])
def test_each_fault_as_often_as_asked_for(
    name: str, bit: int, probability: float
) -> None:
    found = fates(line_with(**{name: probability}))
    assert set(found) <= {0, bit}
    assert near(sum(what == bit for what in found), probability)


def test_faults_are_independent_of_each_other() -> None:
    found = fates(line_with(loss=0.2, duplication=0.3, reordering=0.4, corruption=0.1))
    left = [what for what in found if what != LOSE]
    assert not any(what & LOSE for what in left)
    both = sum(what & (DUPLICATE | HOLD_BACK) == DUPLICATE | HOLD_BACK for what in left)
    assert near(both, 0.12, len(left))
    all_three = DUPLICATE | HOLD_BACK | CORRUPT
    assert near(sum(what == all_three for what in left), 0.012, len(left))


def test_bursts_are_as_gilbert_and_elliott_have_them() -> None:
    """The chain is bad for enter / (enter + leave) of the time, 1 / leave packets in a
    row; losses are those of the state."""
    line = line_with(loss=0.01, burst_enter=0.02, burst_leave=0.25, burst_loss=0.8)
    found = [(fate(line) == LOSE, bool(line["in_burst"])) for _ in range(10 * MANY)]
    bad = [lost for lost, in_burst in found if in_burst]
    good = [lost for lost, in_burst in found if not in_burst]
    bursts = sum(now and not before for (_, before), (_, now) in pairwise(found))
    assert len(bad) / len(found) == pytest.approx(0.02 / 0.27, rel=0.06)
    assert len(bad) / bursts == pytest.approx(4.0, rel=0.06)
    assert near(sum(bad), 0.8, len(bad))
    assert near(sum(good), 0.01, len(good))


@pytest.mark.parametrize("distance", [1, 2, 8, 64])
def test_packets_are_lost_independently(distance: int) -> None:
    lost = [what == LOSE for what in fates(line_with(loss=0.1), MANY + distance)]
    both = sum(lost[i] and lost[i + distance] for i in range(MANY))
    assert near(both, 0.01)


def test_seeds_directions_and_links_are_independent() -> None:
    first = fates(line_with(loss=0.1))
    assert first == fates(line_with(loss=0.1))
    others = [{"seed": 2}, {"direction": OUT}, {"number": 1}, {"seed": 2**63 - 1}]
    for other in others:
        found = fates(line_with(loss=0.1, **other))
        assert near(sum(a and b for a, b in zip(first, found, strict=True)), 0.01)


def test_draws_are_uniform() -> None:
    draws = np.array([uniform(key_of(1, OUT, 5), n) for n in range(MANY)])
    assert 0 <= draws.min() < draws.max() < 1
    counts, _ = np.histogram(draws, 20, (0, 1))
    assert ((counts - MANY / 20) ** 2).sum() / (MANY / 20) < 50  # chi squared, 19 free


def datagram(payload: bytes) -> tuple[Any, Any]:
    header = np.zeros(UDP_HEADER_BYTES, np.uint8)
    values = np.frombuffer(payload, np.uint8).copy()
    write_header(header, 5001, 48864, values)
    return header, values


@pytest.mark.parametrize("payload", [b"", b"\x07", b"intswitch", bytes(range(256))])
def test_the_checksum_is_udps(payload: bytes) -> None:
    """As scapy has it, where the pseudo header adds nothing."""
    scapy = pytest.importorskip("scapy.all")
    header, values = datagram(payload)
    assert checksum_of(header, values) == WORD
    packet = wrap(payload, ("0.0.0.0", 5001), ("0.0.0.0", 48864))
    ip = scapy.IP(packet)
    del ip[scapy.UDP].chksum
    # protocol and length are what the pseudo header has besides addresses
    theirs = ~scapy.IP(bytes(ip))[scapy.UDP].chksum & WORD
    own = ~(int(header[6]) << 8 | int(header[7])) & WORD
    assert (own + 17 + 8 + len(payload) - theirs) % WORD == 0


def test_a_checksum_is_never_zero() -> None:
    header, values = datagram(b"")
    rest = checksum_of(header[:6], values)
    header, values = datagram((WORD - rest - 2).to_bytes(2, "big"))
    assert (header[6], header[7]) == (255, 255)
    assert checksum_of(header, values) == WORD


@pytest.mark.parametrize("bits", [1, 2, 7])
def test_so_many_bits_are_flipped_anywhere(bits: int) -> None:
    line = line_with(corruption=1.0, flipped_bits=bits)
    before = np.concatenate(datagram(bytes(range(20))))
    hit = np.zeros(before.size * 8, np.int64)
    for _ in range(3000):
        fate(line)
        header, payload = datagram(bytes(range(20)))
        flip(line, header, payload)
        flipped = np.unpackbits(np.concatenate([header, payload]) ^ before)
        assert flipped.sum() == bits
        hit += flipped
    assert hit.min() > 0


def test_one_flipped_bit_is_always_caught() -> None:
    line = line_with(corruption=1.0)
    for _ in range(2000):
        fate(line)
        assert not corrupt(line, *datagram(b"a payload"))
    assert (line["caught"], line["missed"], line["lost"]) == (2000, 0, 0)


def test_two_flipped_bits_get_past_where_they_cancel() -> None:
    """In the same column of the words, one up and one down: 1 of 32."""
    line = line_with(corruption=1.0, flipped_bits=2)
    for _ in range(MANY):
        fate(line)
        header, payload = datagram(bytes(range(200)))
        if corrupt(line, header, payload):
            changed = np.unpackbits(payload ^ np.arange(200, dtype=np.uint8)).sum()
            assert changed == 2 or not np.array_equal(header[6:], [0, 0])
            assert checksum_of(header, payload) == WORD
    past = int(line["missed"] + line["lost"])
    assert near(past, 1 / 32)
    assert line["caught"] + past == MANY
    assert line["missed"] > line["lost"] > 0
