"""Where a topology runs. Each fabric starts switch and workers, and ends them."""

from __future__ import annotations

from importlib import import_module

from intswitch.fabrics.fabric import Fabric, Status
from intswitch.topology import Topology

FABRICS = {
    "loopback": ("intswitch.fabrics.loopback", "Loopback"),
    "netns": ("intswitch.fabrics.netns", "Netns"),
    "sim": ("intswitch.fabrics.sim", "Sim"),
    "bmv2": ("intswitch.fabrics.bmv2", "Bmv2"),
    "bmv2-p4runtime": ("intswitch.fabrics.bmv2_p4runtime", "Bmv2P4Runtime"),
    "mininet": ("intswitch.fabrics.mininet", "Mininet"),
}


def open_fabric(name: str, topology: Topology, status: Status) -> Fabric:
    """A fabric by its name, not started yet. Raises as `find_fabric` and `Fabric`."""
    return find_fabric(name)(topology, status=status)


def find_fabric(name: str) -> type[Fabric]:
    """Raises ValueError for a name that is none, ModuleNotFoundError if a package is
    missing that it needs."""
    if name not in FABRICS:
        known = ", ".join(FABRICS)
        raise ValueError(f"--fabric {name}: expected one of {known}")
    module, kind = FABRICS[name]
    fabric: type[Fabric] = getattr(import_module(module), kind)
    return fabric
