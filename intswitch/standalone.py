"""The switch of `intswitch switch`: what its file says, and what options change."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from intswitch.configuration import resolve_host
from switch.config import SwitchConfig
from switch.protocol import Rule

PLAIN = ("port", "num_slots", "slot_bytes")
FAULTS = {"loss_in": "loss_in", "loss_out": "loss_out", "fault_seed": "seed"}


def with_options(config: SwitchConfig, given: Mapping[str, Any]) -> SwitchConfig:
    """`config` with the options in `given`; other names are not looked at.

    Raises ValueError for an address that is none.
    """
    changes: dict[str, Any] = {name: given[name] for name in PLAIN if name in given}
    faults = {field: given[name] for name, field in FAULTS.items() if name in given}
    if "address" in given:
        try:
            changes["address"] = resolve_host(given["address"])
        except ValueError as error:
            raise ValueError(f"--address {given['address']}: {error}") from None
    if "rule" in given:
        changes["rule"] = Rule[given["rule"].upper()]
    return replace(config, faults=replace(config.faults, **faults), **changes)
