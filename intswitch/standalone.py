"""The switch of `intswitch switch`: what its file says, and what options change."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from host.access import Access
from intswitch.access import read_security
from intswitch.configuration import read_faults, resolve_host
from switch.config import FaultConfig, SwitchConfig
from switch.protocol import Rule
from switch.security import Security

PLAIN = ("port", "num_slots", "slot_bytes", "parent")
SECURITY = {
    "tls_certificate": "certificate",
    "tls_key": "key",
    "tokens": "tokens",
    "insecure": "insecure",
}
LOSSES = {"loss_in": "inward", "loss_out": "outward"}


def with_options(config: SwitchConfig, given: Mapping[str, Any]) -> SwitchConfig:
    """`config` with the options in `given`; other names are not looked at.

    Raises ValueError for an address that is none, or security that is none.
    """
    changes: dict[str, Any] = {name: given[name] for name in PLAIN if name in given}
    if "address" in given:
        try:
            changes["address"] = resolve_host(given["address"])
        except ValueError as error:
            raise ValueError(f"--address {given['address']}: {error}") from None
    if "rule" in given:
        changes["rule"] = Rule[given["rule"].upper()]
    security = _security(config.security, given)
    if changes.get("parent", config.parent):  # to which it is what a worker is
        vouched = Access.from_environment().certificate
        security = replace(security, above=vouched)
    faults = _faults(config.faults, given)
    return replace(config, faults=faults, security=security, **changes)


def _security(security: Security, given: Mapping[str, Any]) -> Security:
    """What no option says stays as the file has it."""
    options = {name: given[name] for name in SECURITY if name in given}
    read = read_security(**options)
    return replace(
        security, **{SECURITY[name]: getattr(read, SECURITY[name]) for name in options}
    )


def _faults(faults: FaultConfig, given: Mapping[str, Any]) -> FaultConfig:
    """Of the links that the file does not name; --faults goes before the file."""
    if "faults" in given:
        faults = read_faults(given["faults"])
    for name, direction in LOSSES.items():
        if name in given:
            lossy = replace(getattr(faults, direction), loss=given[name])
            faults = replace(faults, **{direction: lossy})
    seed = given.get("fault_seed", faults.seed)
    return replace(faults, seed=seed)
