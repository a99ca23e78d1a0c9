"""A trace holds every packet at the pipeline's boundary, and others can read it."""

import io
import itertools
from pathlib import Path

import pytest
from lossy import losing

from switch.config import FaultConfig, JobConfig, SwitchConfig
from switch.pipeline import Pipeline
from switch.protocol import ElementType, Opcode, Reduction, emit, kind_of
from switch.tap import PcapTap

KIND = kind_of(Reduction.SUM, ElementType.INT8, ElementType.INT8)
SWITCHES = {"ipv4": ("10.0.0.1", 48864), "ipv6": ("fd00::1", 48864)}
WORKERS = {
    "ipv4": (("10.0.0.2", 5001), ("10.0.0.3", 5002)),
    "ipv6": (("fd00::2", 5001), ("fd00::3", 5002)),
}


def contribution(worker: int) -> bytes:
    return emit(
        opcode=Opcode.CONTRIBUTE,
        job=7,
        worker=worker,
        sequence=0,
        kind=KIND,
        element_count=1,
        payload=b"\x05",
    )


def traced(version: str, faults: FaultConfig) -> bytes:
    workers = WORKERS[version]
    job = JobConfig(job=7, workers=workers, num_slots=1, slot_bytes=4)
    pipeline = Pipeline(SwitchConfig(jobs=(job,), faults=faults))
    file = io.BytesIO()
    clock = itertools.count(1_700_000_000_000_000_000, 1000)
    pipeline.tap = PcapTap(file, SWITCHES[version], lambda: next(clock))
    foreign = (contribution(0), ("10.9.9.9", 9))
    pipeline.process([(contribution(w), workers[w]) for w in (0, 1)] + [foreign])
    return file.getvalue()


@pytest.mark.parametrize("version", SWITCHES)
def test_scapy_reads_the_trace(version: str, tmp_path: Path) -> None:
    scapy = pytest.importorskip("scapy.all")
    path = tmp_path / "trace.pcap"
    path.write_bytes(traced(version, FaultConfig()))
    packets = scapy.rdpcap(str(path))
    ip = scapy.IPv6 if version == "ipv6" else scapy.IP
    seen = [(p[ip].src, p[ip].dst, p.sport, p.dport) for p in packets]
    switch, port = SWITCHES[version]
    (w0, p0), (w1, p1) = WORKERS[version]
    nobody = "::" if version == "ipv6" else "0.0.0.0"
    assert seen == [
        (w0, switch, p0, port),
        (w1, switch, p1, port),
        (nobody, switch, 0, port),
        (switch, w0, port, p0),
        (switch, w1, port, p1),
    ]
    payloads = [bytes(p[scapy.UDP].payload) for p in packets]
    assert payloads[:2] == [contribution(0), contribution(1)]
    assert payloads[3] == payloads[4]
    assert payloads[3].endswith(b"\x0a")
    if version == "ipv4":
        packet = packets[0][scapy.IP]
        stated = packet.chksum
        del packet.chksum
        assert scapy.IP(bytes(packet)).chksum == stated


def test_lost_packets_are_seen_in_but_not_out() -> None:
    assert len(traced("ipv4", losing(outward=1.0))) == 24 + 3 * (16 + 28 + 17)
