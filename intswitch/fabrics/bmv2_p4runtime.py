"""As the bmv2 fabric, but the switch is `simple_switch_grpc`, which starts empty and
gets its program and tables over P4Runtime.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec

from intswitch.fabrics.bmv2 import TOOLS, Bmv2
from intswitch.p4_program import Program

ADDRESS = "127.0.0.1:9559"  # in the switch's namespace; nobody else is there
DEVICE_ID = 1


class Bmv2P4Runtime(Bmv2):
    """A topology at work."""

    name = "bmv2-p4runtime"
    binary = "simple_switch_grpc"
    tools: Mapping[str, str] = {
        "simple_switch_grpc": "BMv2, built with P4Runtime",
        **{tool: TOOLS[tool] for tool in ("p4c-bm2-ss", "ip", "setpriv")},
    }

    @classmethod
    def missing(cls) -> list[str]:
        reasons = super().missing()
        if find_spec("finsy") is None:
            reasons.append("finsy is not installed: pip install 'intswitch[bmv2]'")
        return reasons

    def switch_options(self, program: Program) -> list[str]:
        own = ["--device-id", str(DEVICE_ID), "--no-p4"]
        return [*own, "--", "--grpc-server-addr", ADDRESS]

    def connection(self, program: Program) -> dict[str, object]:
        return {
            "p4runtime": ADDRESS,
            "device_id": DEVICE_ID,
            "program": str(program.json),
            "p4info": str(program.p4info),
        }
