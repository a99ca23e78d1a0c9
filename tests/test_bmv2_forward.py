"""Around the aggregation: checksums, padding and other shapes of frames; what is not
for the switch passes through it.
"""

import random
import time
from collections.abc import Callable
from dataclasses import replace

import frames
import pytest
from bmv2 import LOOP_PASSES, MARKER, NUM_PORTS, PROGRAM, SWITCH, Bmv2, loop_marker
from frames import End, Udp
from traffic import contribution, values_of

from switch import p4_tables
from switch.config import JobConfig, SwitchConfig
from switch.p4_tables import Entry, Replica, Station
from switch.protocol import HEADER_BYTES

JOB = JobConfig(
    job=7,
    workers=(("10.4.0.1", 5000), ("10.4.0.2", 5000)),
    num_slots=64,
    slot_bytes=1280,
)
FLOOD_GROUP = 1000
HOSTS = [End(0x02_00_00_00_AA_00 + port, f"10.5.0.{port + 1}", 80) for port in range(4)]
BROADCAST = End(frames.BROADCAST, "10.5.0.255", 80)


@pytest.fixture
def switch(bmv2: Bmv2) -> Bmv2:
    """One job; one more host at each port."""
    bmv2.configure(SwitchConfig(num_slots=64, jobs=(JOB,)))
    ports = [Replica(0, port) for port in range(NUM_PORTS)]
    bmv2.tables.insert_group(FLOOD_GROUP, ports)
    bmv2.tables.insert(p4_tables.flood_entry(FLOOD_GROUP))
    for port, host in enumerate(HOSTS):
        bmv2.tables.insert(p4_tables.station_entry(Station(host.mac, port)))
    return bmv2


def exchange(switch: Bmv2, port: int, frame: bytes) -> list[list[bytes]]:
    """What leaves each port because of a frame."""
    switch.send(port, frame)
    received: list[list[bytes]] = [[] for _ in range(NUM_PORTS)]
    for each in (port, *range(NUM_PORTS)):
        received[each] += switch.await_marker(each, MARKER)
    return received


def sent_by_worker_1(switch: Bmv2, values: list[int], sequence: int = 0) -> Udp:
    """A frame that completes chunk `sequence`: worker 0 has contributed zeros."""
    packet, address = contribution(JOB, 1, sequence, values)
    assert switch.process([contribution(JOB, 0, sequence, [0] * len(values))]) == []
    return Udp(switch.end(address), SWITCH, packet)


def results(switch: Bmv2, frame: bytes) -> list[list[int]]:
    """The values of the results that a frame of worker 1 leads to."""
    received = exchange(switch, switch.place(JOB.workers[1]).port, frame)
    return [
        values_of(switch.check(out, port)[0])
        for port in range(NUM_PORTS)
        for out in received[port]
    ]


# Datagrams that a host's kernel would deliver.


@pytest.mark.parametrize("count", [1, 3, 64, 65, 127, 320])
def test_padding_is_no_payload(switch: Bmv2, count: int) -> None:
    """Ethernet pads short frames, with anything."""
    values = list(range(count))
    udp = replace(sent_by_worker_1(switch, values), padding=b"\xff" * 46)
    assert results(switch, udp.frame()) == [values, values]


@pytest.mark.parametrize("words", [1, 3, 10])
def test_ipv4_options_are_skipped(switch: Bmv2, words: int) -> None:
    options = b"\1" * (4 * words)  # no operation
    udp = replace(sent_by_worker_1(switch, [5]), options=options)
    assert results(switch, udp.frame()) == [[5], [5]]


def test_no_udp_checksum_is_a_right_one(switch: Bmv2) -> None:
    udp = replace(sent_by_worker_1(switch, [5]), checksum=0)
    assert results(switch, udp.frame()) == [[5], [5]]


def test_a_checksum_that_comes_to_0_is_written_ffff(switch: Bmv2) -> None:
    """By hosts, and by the switch."""
    bare = sent_by_worker_1(switch, [0])
    value = checksum_of(bare.frame())
    switch.reset(JOB.job)
    udp = sent_by_worker_1(switch, [value])
    assert checksum_of(udp.frame()) == 0xFFFF
    assert results(switch, udp.frame()) == [[value], [value]]

    switch.reset(JOB.job)
    udp = sent_by_worker_1(switch, [0])
    out = exchange(switch, 1, udp.frame())[1][0]
    value = checksum_of(out)
    switch.reset(JOB.job)
    udp = sent_by_worker_1(switch, [value])
    out = exchange(switch, 1, udp.frame())[1][0]
    assert values_of(switch.check(out, 1)[0]) == [value]
    assert checksum_of(out) == 0xFFFF


def checksum_of(frame: bytes) -> int:
    return int.from_bytes(frame[40:42], "big")


# Datagrams that it would not deliver.


def wrong_checksum(udp: Udp) -> Udp:
    right = int.from_bytes(udp.datagram()[6:8], "big")
    return replace(udp, checksum=right ^ 0x0100)


def last_byte_changed(udp: Udp) -> Udp:
    right = int.from_bytes(udp.datagram()[6:8], "big")
    payload = udp.payload[:-1] + bytes([udp.payload[-1] ^ 1])
    return replace(udp, payload=payload, checksum=right)


DAMAGES = {
    "UDP checksum": wrong_checksum,
    "payload": last_byte_changed,
    "IPv4 checksum": lambda udp: replace(udp, ip_checksum_error=1),
    "UDP length beyond the IPv4 length": lambda udp: replace(
        udp, length=8 + len(udp.payload) + 4, padding=bytes(4)
    ),
    "UDP length beyond the frame": lambda udp: replace(
        udp, length=8 + len(udp.payload) + 400
    ),
    "UDP length below its header": lambda udp: replace(udp, length=7),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
@pytest.mark.parametrize("count", [1, 64, 320])
def test_damaged_datagrams_are_counted_and_do_nothing(
    switch: Bmv2, damage: Callable[[Udp], Udp], count: int
) -> None:
    udp = sent_by_worker_1(switch, [5] * count)
    before = switch.counters()
    assert results(switch, damage(udp).frame()) == []
    after = switch.counters()
    assert after == {**before, "damaged": before["damaged"] + 1}
    assert results(switch, udp.frame()) == [[5] * count] * 2


@pytest.mark.parametrize("missing", [1, 40, 1000])
def test_a_frame_cut_short_is_damaged(switch: Bmv2, missing: int) -> None:
    udp = sent_by_worker_1(switch, [5] * 300)
    before = switch.counters()["damaged"]
    assert results(switch, udp.frame()[:-missing]) == []
    assert switch.counters()["damaged"] == before + 1


def test_a_fragment_is_not_taken_for_a_packet(switch: Bmv2) -> None:
    udp = sent_by_worker_1(switch, [5])
    before = switch.counters()
    for fragment in (0x2000, 0x0001):  # more fragments; offset 8
        assert results(switch, replace(udp, fragment=fragment).frame()) == []
    assert switch.counters() == before


def test_a_datagram_too_long_for_any_slot_is_malformed(switch: Bmv2) -> None:
    before = switch.counters()["malformed"]
    udp = sent_by_worker_1(switch, [5])
    long = replace(udp, payload=udp.payload[:HEADER_BYTES] + bytes(1440))
    assert results(switch, long.frame()) == []
    assert switch.counters()["malformed"] == before + 1


@pytest.mark.parametrize("field", ["mac", "address", "port"])
def test_what_is_for_somebody_else_passes(switch: Bmv2, field: str) -> None:
    """Another MAC, address or port than the switch's: not aggregated."""
    udp = sent_by_worker_1(switch, [5])
    other = {"mac": HOSTS[2].mac, "address": HOSTS[2].address, "port": 9}
    destination = replace(SWITCH, **{field: other[field]})
    frame = replace(udp, destination=destination).frame()
    before = switch.counters()
    received = exchange(switch, 1, frame)
    assert received == [[], [], [frame] if field == "mac" else [], []]
    assert switch.counters() == before


# Forwarding.


def test_frames_go_to_the_port_of_their_host(switch: Bmv2) -> None:
    for payload in (b"", b"x", bytes(1400)):
        frame = Udp(HOSTS[0], HOSTS[3], payload).frame()
        assert exchange(switch, 0, frame) == [[], [], [], [frame]]


def test_a_packet_of_this_protocol_to_a_host_is_left_alone(switch: Bmv2) -> None:
    """Its port says that it is aggregated, by another switch."""
    packet, _ = contribution(JOB, 0, 0, list(range(100)))
    host = replace(HOSTS[3], port=SWITCH.port)
    frame = Udp(HOSTS[0], host, packet, checksum=0x1234, padding=b"abc").frame()
    assert exchange(switch, 0, frame) == [[], [], [], [frame]]


def test_a_broadcast_goes_to_all_other_ports(switch: Bmv2) -> None:
    frame = Udp(HOSTS[1], BROADCAST, b"hello").frame()
    assert exchange(switch, 1, frame) == [[frame], [], [frame], [frame]]


def test_an_arp_request_for_a_host_goes_to_all_other_ports(switch: Bmv2) -> None:
    frame = frames.arp_request(HOSTS[1], HOSTS[2].address)
    assert exchange(switch, 1, frame) == [[frame], [], [frame], [frame]]


def test_the_switch_answers_arp_for_its_address(switch: Bmv2) -> None:
    frame = frames.arp_request(HOSTS[1], SWITCH.address)
    ((answer,),) = [out for out in exchange(switch, 1, frame) if out]
    assert frames.is_arp_reply(answer)
    assert answer[:6] == HOSTS[1].mac.to_bytes(6, "big")
    mac = SWITCH.mac.to_bytes(6, "big")
    assert answer[22:32] == mac + SWITCH.ipv4
    assert answer[32:42] == HOSTS[1].mac.to_bytes(6, "big") + HOSTS[1].ipv4


def test_an_unknown_destination_is_dropped(switch: Bmv2) -> None:
    frame = Udp(HOSTS[0], End(0x02_00_00_00_BB_00, "10.5.0.9"), b"?").frame()
    assert exchange(switch, 0, frame) == [[], [], [], []]


def routed(switch: Bmv2, ttl_error: int = 0) -> tuple[bytes, list[list[bytes]]]:
    """A datagram to another subnet, through the switch as a router."""
    beyond = End(SWITCH.mac, "10.6.1.9", 80)
    hop = (2, SWITCH.mac, HOSTS[2].mac)
    entry = Entry(
        p4_tables.ROUTES,
        (f"{p4_tables.number_of('10.6.0.0')}/16",),
        "SwitchIngress.forward.to_hop",
        hop,
    )
    switch.tables.insert(entry)
    udp = Udp(HOSTS[0], beyond, b"over there", ip_checksum_error=ttl_error)
    return udp.frame(), exchange(switch, 0, udp.frame())


def test_the_switch_routes(switch: Bmv2) -> None:
    frame, received = routed(switch)
    ((out,),) = [out for out in received if out]
    assert received[2] == [out]
    assert out[:12] == HOSTS[2].mac.to_bytes(6, "big") + SWITCH.mac.to_bytes(6, "big")
    assert out[22] == frame[22] - 1, "time to live"
    assert frames.ipv4_checksum(out[14:34]) == 0
    assert out[26:] == frame[26:]


def test_what_has_a_wrong_header_is_not_routed(switch: Bmv2) -> None:
    _, received = routed(switch, ttl_error=1)
    assert received == [[], [], [], []]


def test_the_entries_in_the_readme_make_a_switch(bmv2: Bmv2) -> None:
    """p4/README.md sets up two hosts and a job by hand."""
    text = (PROGRAM.parent / "README.md").read_text()
    block = text[text.index("    set_queue_depth 1024\n    table_add") :].split("\n\n")[
        0
    ]
    bmv2.tables.reset()
    for line in block.splitlines():
        bmv2.tables.run(line.strip())
    switch = End(0x02_00_00_00_00_64, "10.0.0.100", SWITCH.port)
    hosts = [End(0x02_00_00_00_00_01 + n, f"10.0.0.{n + 1}", 5000) for n in range(2)]
    job = replace(JOB, workers=tuple((host.address, host.port) for host in hosts))
    for rank, host in enumerate(hosts):
        packet, _ = contribution(job, rank, 0, [1, 20])
        bmv2.send(rank, Udp(host, switch, packet).frame())
        time.sleep(0.1)  # two ports: no order else
    for rank, host in enumerate(hosts):
        source, destination, packet = frames.read_udp(bmv2.receive(rank))
        assert (source, destination) == (switch, host)
        assert values_of(packet) == [2, 40]
    request = frames.arp_request(hosts[0], hosts[1].address)
    bmv2.send(0, request)
    assert bmv2.receive(1) == request


def damaged_frame(rng: random.Random, frame: bytes) -> bytes:
    """Some bits of the headers flipped; cut short, or gone on with."""
    out = bytearray(frame)
    for _ in range(rng.choice([0, 1, 1, 3])):
        bit = rng.randrange(8 * min(len(out), 60))
        out[bit // 8] ^= 1 << bit % 8
    if rng.random() < 0.1:
        out[12:14] = rng.choice([b"\x88\xb5", b"\x08\x06", b"\x08\x00"])
    if rng.random() < 0.2:
        del out[rng.randrange(15, len(out)) :]
    return bytes(out) + rng.randbytes(rng.choice([0, 0, 0, 1, 600]))


def test_no_frame_stops_the_switch(switch: Bmv2) -> None:
    """BMv2 ends with a failed assertion when a program asks too much of it."""
    rng = random.Random(5)
    empty = Udp(switch.end(JOB.workers[1]), SWITCH, contribution(JOB, 1, 0, [])[0])
    frames_sent = [
        sent_by_worker_1(switch, [7] * 320).frame(),
        empty.frame(),
        replace(empty, options=b"\1" * 40).frame(),
        b"\2\0\0\0\xff\1" + empty.frame()[6:12] + b"\x88\xb5" + bytes(512),
        frames.arp_request(HOSTS[1], SWITCH.address),
        Udp(HOSTS[0], HOSTS[2], bytes(1200)).frame(),
        *(replace(empty, payload=rng.randbytes(n)).frame() for n in (0, 3, 15, 900)),
    ]
    for _ in range(100):
        for _ in range(10):
            switch.send(1, damaged_frame(rng, rng.choice(frames_sent))[:1514])
        switch.await_marker(1, MARKER)
    for marker in (*[loop_marker(1)] * LOOP_PASSES, MARKER):
        switch.await_marker(1, marker)
    for port in range(NUM_PORTS):
        switch.await_marker(port, MARKER)
    switch.reset(JOB.job)
    udp = sent_by_worker_1(switch, [5])
    assert results(switch, udp.frame()) == [[5], [5]]
