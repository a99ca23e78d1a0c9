"""The test kit over raw frames, in a network namespace of its own: run by
test_conformance_frames.py under `unshare -rn`.

Two pairs of veth: w0 and w1 are where the kit sends frames, s0 and s1 are the switch's.
The switch is behind a UDP socket of the kernel, which drops frames that are not right.
"""

import json
import subprocess
import sys
from contextlib import closing
from pathlib import Path

from switches_under_test import bare_switch, results, scripts_of

from intswitch.configuration import read_switch
from intswitch.conformance import run
from intswitch.conformance.ethernet import EthernetWire
from intswitch.conformance.jobs import FixedJobs, fixed_file
from intswitch.conformance.network import NetworkTarget
from switch.protocol import Rule

SWITCH_MAC = "02:00:00:00:01:00"
HOSTS = {"10.9.0.2": "w0", "10.9.1.2": "w1"}


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True)


def connect(number: int) -> None:
    worker, switch = f"w{number}", f"s{number}"
    ip("link", "add", "name", worker, "type", "veth", "peer", "name", switch)
    ip("link", "set", switch, "address", SWITCH_MAC)
    mac = f"02:00:00:00:00:0{number}"
    ip("link", "set", worker, "address", mac)
    ip("link", "set", worker, "arp", "off", "up")
    ip("link", "set", switch, "up")
    ip("address", "add", f"10.9.{number}.1/24", "dev", switch)
    ip("neighbour", "add", f"10.9.{number}.2", "lladdr", mac, "dev", switch)


def main(folder: Path) -> None:
    ip("link", "set", "lo", "up")
    for number in (0, 1):
        connect(number)
    chosen = scripts_of(Rule.SAFE)
    path = folder / "jobs.yaml"
    path.write_text(fixed_file(chosen, [(host, 20000) for host in HOSTS]))
    config = read_switch(path)
    wire = EthernetWire(HOSTS, bytes.fromhex(SWITCH_MAC.replace(":", "")))
    with bare_switch(config, address="10.9.0.1") as switch:
        jobs = FixedJobs(config, switch.endpoint, 5.0)
        with closing(NetworkTarget(jobs, wire, 5.0)) as target:
            outcomes = list(run(chosen, target))
    told = [each.reason for each in outcomes if each.result not in ("pass", "skipped")]
    print(json.dumps([results(outcomes), told]))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
