"""A laboratory for in-network aggregation. `intswitch --help` shows where to begin."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from host.agent import join
    from host.compressors import compressor
    from intswitch.hook import register_hook
    from intswitch.sim.cables import Cable
    from intswitch.sim.shared import SharedSimulation, SimulatedJob
    from intswitch.sim.simulation import Simulation
    from intswitch.switch_process import Switch

__version__ = "0.1.0"
__all__ = [
    "Cable",
    "SharedSimulation",
    "SimulatedJob",
    "Simulation",
    "Switch",
    "__version__",
    "compressor",
    "join",
    "register_hook",
]

# Imported when first used: the command line has no second to spare for numba.
_HOME = {
    "Cable": "intswitch.sim.cables",
    "SharedSimulation": "intswitch.sim.shared",
    "SimulatedJob": "intswitch.sim.shared",
    "Simulation": "intswitch.sim.simulation",
    "Switch": "intswitch.switch_process",
    "join": "host.agent",
    "compressor": "host.compressors",
    "register_hook": "intswitch.hook",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'intswitch' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME])
