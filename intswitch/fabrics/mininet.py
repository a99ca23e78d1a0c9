"""As the bmv2 fabric, but Mininet makes the network: topologies/mininet_star.py."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from functools import cache
from pathlib import Path

from intswitch.child import Child, lines_until, search_path
from intswitch.fabrics.bmv2 import SWITCH, Bmv2
from intswitch.fabrics.course import FabricError
from intswitch.topology import FOLDERS

SCRIPT = "mininet_star.py"
SWITCH_NODE = "s1"  # what Mininet calls it
# Mininet is a package of the system's Python.
PYTHONS = ("/usr/bin/python3", "python3")
START_TIMEOUT = 60.0


@cache
def python_with_mininet() -> str | None:
    for candidate in PYTHONS:
        path = shutil.which(candidate)
        command = [path or "false", "-c", "import mininet"]
        if path and subprocess.run(command, capture_output=True).returncode == 0:
            return path
    return None


class Mininet(Bmv2):
    """A topology at work."""

    name = "mininet"

    @classmethod
    def missing(cls) -> list[str]:
        reasons = super().missing()
        if shutil.which("mn") is None or python_with_mininet() is None:
            reasons.append("Mininet is not installed: apt install mininet")
        return reasons

    def build(self) -> None:
        script = next(each for each in script_paths() if each.is_file())
        hosts = self.topology.hosts
        command = [str(python_with_mininet()), str(script), "--bare", "--names", *hosts]
        child = Child("Mininet", command, {"PATH": search_path()})
        self._others.append(child)
        for _, line in lines_until([child], time.monotonic() + START_TIMEOUT):
            if line is None:
                raise FabricError(f"Mininet {child.ending()}: {child.errors()}")
            pids = json.loads(line)
            break
        else:
            raise FabricError(f"Mininet did not start in {START_TIMEOUT:.0f} s")
        nodes = {SWITCH: SWITCH_NODE} | {host: host for host in hosts}
        self.enter = {
            name: ["mnexec", "-a", str(pids[node])] for name, node in nodes.items()
        }

    def remove(self) -> None:
        """The script takes its network with it."""

    def interface(self, host: str) -> str:
        return "eth0" if host == SWITCH else f"{host}-eth0"


def script_paths() -> list[Path]:
    return [folder / SCRIPT for folder in FOLDERS]
