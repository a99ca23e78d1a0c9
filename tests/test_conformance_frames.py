"""Raw Ethernet as a wire of the test kit: frames made right, and judged."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Ether
from switches_under_test import scripts_of

from intswitch.conformance import Violation
from intswitch.conformance.command import wire_of
from intswitch.conformance.ethernet import EVERYWHERE, EthernetWire
from intswitch.conformance.frames import frame_of, is_udp, packet_in, receiver_of
from switch.protocol import Rule

SWITCH, WORKER = ("10.9.0.1", 48864), ("10.9.0.2", 20000)
MACS = bytes.fromhex("020000000100"), bytes.fromhex("020000000002")
HERE = Path(__file__).parent

PAYLOADS = [b"", b"\1", b"\1\2", bytes(range(64)), b"\xff" * 33]


def scapy_frame(payload: bytes, **fields: Any) -> bytes:
    ip = IP(src=SWITCH[0], dst=WORKER[0], **fields.pop("ip", {}))
    udp = UDP(sport=SWITCH[1], dport=WORKER[1], **fields.pop("udp", {}))
    return bytes(Ether(src=MACS[0], dst=MACS[1]) / ip / udp / payload)


def judge(frame: bytes, summed: bool = True) -> bytes:
    return packet_in(frame, SWITCH, MACS[1], summed=summed)


@pytest.mark.parametrize("payload", PAYLOADS, ids=len)
def test_frames_are_those_of_scapy(payload: bytes) -> None:
    ours, theirs = frame_of(payload, SWITCH, WORKER, MACS), scapy_frame(payload)
    # but for the identification, which is nobody's business without fragments
    assert ours[:18] + ours[20:24] == theirs[:18] + theirs[20:24]
    assert ours[26:] == theirs[26:]
    assert judge(ours) == judge(theirs) == payload
    assert is_udp(theirs)
    assert receiver_of(theirs) == WORKER


def test_a_checksum_of_zero_is_sent_as_ffff() -> None:
    payload = frame_of(b"\0\0", SWITCH, WORKER, MACS)[40:42]  # makes the sum ffff
    frame = frame_of(payload, SWITCH, WORKER, MACS)
    assert frame[40:42] == b"\xff\xff"
    assert judge(frame) == payload


def test_padding_is_no_part_of_the_packet() -> None:
    assert judge(scapy_frame(b"\1\2") + bytes(16)) == b"\1\2"


RIGHT = scapy_frame(b"\1\2")
WRONG = {
    "IPv4 checksum: expected right, received wrong": {"ip": {"chksum": 1}},
    "UDP checksum: expected right, received wrong": {"udp": {"chksum": 1}},
    "UDP checksum: expected right, received none": {"udp": {"chksum": 0}},
    "IPv4 total length: expected 29, received 30": {"udp": {"len": 9}},
    "IPv4 total length: expected 119, received 30": {"udp": {"len": 99}},
    "UDP length: expected 10, received 99": {"udp": {"len": 99}, "ip": {"len": 119}},
}
WRONG_FRAMES = {
    **{text: scapy_frame(b"\1\2", **fields) for text, fields in WRONG.items()},
    "destination MAC: expected 02:00:00:00:00:02, received 03:": b"\3" * 6 + RIGHT[6:],
    "an IPv4 header that begins with 0x46": RIGHT[:14] + b"\x46" + RIGHT[15:],
}


@pytest.mark.parametrize(("text", "frame"), WRONG_FRAMES.items(), ids=WRONG_FRAMES)
def test_a_wrong_frame_is_told(text: str, frame: bytes) -> None:
    with pytest.raises(Violation, match=f"^{text}"):
        judge(frame)


def test_another_sender_is_told() -> None:
    text = "source: expected 10.9.0.1:48864, received 10.9.0.1:5, in the frame"
    with pytest.raises(Violation, match=f"^{text}"):
        judge(frame_of(b"", (SWITCH[0], 5), WORKER, MACS))


def test_a_checksum_that_was_left_to_hardware_is_not_judged() -> None:
    assert judge(scapy_frame(b"\1\2", udp={"chksum": 1}), summed=False) == b"\1\2"


def test_interfaces_are_named() -> None:
    wire = wire_of(["w0", "10.9.1.2=w1"], "02:00:00:00:01:00")
    assert isinstance(wire, EthernetWire)
    assert wire.interfaces == {EVERYWHERE: "w0", "10.9.1.2": "w1"}
    assert wire.switch_mac == MACS[0]


@pytest.mark.parametrize(
    ("interfaces", "mac", "text"),
    [
        (
            ["a", "b"],
            "02:00:00:00:01:00",
            "--interface b: expected NAME, or IP=NAME once",
        ),
        (["10.0.0.1="], "02:00:00:00:01:00", "--interface 10.0.0.1=: expected NAME"),
        (["a"], None, "--switch-mac: expected the MAC that frames to the switch go to"),
        (["a"], "02:00:00:00:01", "--switch-mac 02:00:00:00:01: expected the MAC"),
        (["a"], "02:00:00:00:01:0g", "--switch-mac 02:00:00:00:01:0g: expected the M"),
    ],
)
def test_a_mistake_in_them_is_told(
    interfaces: list[str], mac: str | None, text: str
) -> None:
    with pytest.raises(ValueError, match=f"^{text}"):
        wire_of(interfaces, mac)


def in_namespace(*command: str) -> subprocess.CompletedProcess[str]:
    places = [str(HERE), str(HERE.parent), os.environ.get("PYTHONPATH", "")]
    path = os.pathsep.join(places)
    return subprocess.run(
        ["unshare", "-rn", *command],
        capture_output=True, text=True, env={**os.environ, "PYTHONPATH": path},
    )  # fmt: skip


def can_make_interfaces() -> bool:
    try:
        made = in_namespace("ip", "link", "add", "name", "w0", "type", "veth")
    except FileNotFoundError:
        return False
    return made.returncode == 0


@pytest.mark.skipif(not can_make_interfaces(), reason="unshare -rn cannot make veth")
def test_a_switch_that_sees_frames_passes(tmp_path: Path) -> None:
    program = str(HERE / "raw_frames.py")
    ran = in_namespace(sys.executable, "-P", program, str(tmp_path))
    assert ran.returncode == 0, ran.stderr
    results, told = json.loads(ran.stdout)
    assert told == []
    names = [script.name for script in scripts_of(Rule.SAFE)]
    assert results == {name: "skipped" if name == "reset" else "pass" for name in names}
