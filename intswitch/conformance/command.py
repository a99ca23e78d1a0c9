"""`intswitch conformance`: options in, exit status out."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Sequence
from contextlib import closing, nullcontext
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from intswitch.configuration import read_switch, resolve_worker
from intswitch.conformance import script as golden
from intswitch.conformance.ethernet import EthernetWire
from intswitch.conformance.jobs import (
    FixedJobs,
    Jobs,
    JoinedJobs,
    fixed_file,
    need_control_plane,
    within,
)
from intswitch.conformance.network import NetworkTarget, Wire
from intswitch.conformance.report import Report, listing
from intswitch.conformance.runner import Outcome, run
from intswitch.conformance.script import Script
from intswitch.conformance.target import Target
from intswitch.conformance.udp import UdpWire, own_address
from intswitch.console import new_console
from switch.admission import text_of
from switch.config import Address, SwitchConfig
from switch.protocol import Rule

WORKERS_AT = "127.0.0.1:20000"


def list_scripts(scripts: Sequence[Script], rule: str | None) -> None:
    if rule:
        scripts = of_rule(scripts, Rule[rule.upper()])
    new_console().print(listing(scripts))


def print_jobs(
    scripts: Sequence[Script],
    rule: str | None,
    first: Sequence[str],
    num_slots: int | None,
) -> None:
    """What a target without a control plane must be set to."""
    wanted = of_rule(scripts, Rule[(rule or "safe").upper()])
    kept = wanted if num_slots is None else within(wanted, num_slots)
    if not kept:
        raise ValueError(f"--num-slots {num_slots}: no script has jobs that small")
    addresses = [worker_at(text) for text in first or [WORKERS_AT]]
    left_out = [script for script in wanted if script not in kept]
    print(fixed_file(kept, addresses, left_out), end="")


def worker_at(text: str) -> Address:
    try:
        return resolve_worker(text)
    except ValueError as error:
        raise ValueError(f"--workers-at {text}: {error}") from None


@dataclass(frozen=True)
class Wanted:
    """What to test, and how: the options of the command."""

    target: str | None
    rule: str | None
    scripts: Sequence[Script]
    timeout: float
    bind: str | None
    fixed: Path | None
    interface: Sequence[str]
    switch_mac: str | None


def check(wanted: Wanted, as_json: bool) -> int:
    """Hold the target to the scripts, and report. Returns the exit status."""
    file = read_switch(wanted.fixed) if wanted.fixed else None
    endpoint, rule = endpoint_of(wanted.target, file), rule_of(wanted.rule, file)
    scripts = of_rule(wanted.scripts, rule)
    wire = wire_of(wanted.interface, wanted.switch_mac)
    jobs: Jobs
    if file:
        jobs = FixedJobs(file, endpoint, wanted.timeout)
    else:
        jobs = JoinedJobs(endpoint, wanted.bind or own_address(endpoint))
        need_control_plane(endpoint, wanted.timeout)
    console = Console(stderr=True) if as_json else new_console()
    with closing(NetworkTarget(jobs, wire, wanted.timeout)) as network:
        outcomes = outcomes_of(scripts, network, wanted.timeout, console)
    others = [script.name for script in wanted.scripts if script.rule != rule]
    report = Report(endpoint, rule, outcomes, others)
    if as_json:
        print(report.as_json())
    else:
        report.show(console)
    return 0 if report.passed else 1


def wire_of(interfaces: Sequence[str], switch_mac: str | None) -> Wire:
    """UDP sockets; frames, where interfaces are named."""
    if not interfaces:
        return UdpWire()
    named: dict[str, str] = {}
    for text in interfaces:
        host, _, name = text.rpartition("=")
        if not name or host in named:
            raise ValueError(
                f"--interface {text}: expected NAME, or IP=NAME once for each address"
            )
        named[host] = name
    octets = re.fullmatch(r"([0-9a-f]{2}(:|$)){6}", (switch_mac or "").lower())
    if octets is None:
        found = f" {switch_mac}" if switch_mac else ""
        raise ValueError(
            f"--switch-mac{found}: expected the MAC that frames to the switch go to, "
            "such as 02:00:00:00:00:01"
        )
    return EthernetWire(named, bytes.fromhex(octets[0].replace(":", "")))


def outcomes_of(
    scripts: list[Script], target: Target, timeout: float, console: Console
) -> list[Outcome]:
    """Runs them all, with a line that moves where somebody looks on."""
    moving = console.status(scripts[0].name) if console.is_terminal else nullcontext()
    outcomes: list[Outcome] = []
    with moving as status:
        for outcome in run(scripts, target, timeout):
            outcomes.append(outcome)
            if status and len(outcomes) < len(scripts):
                name = scripts[len(outcomes)].name
                status.update(f"{name} ({len(outcomes) + 1} of {len(scripts)})")
    return outcomes


def chosen(only: Sequence[str], excepted: Sequence[str]) -> list[Script]:
    """The scripts whose names match one of `only`, or all of them if it is empty; and
    none of `excepted`."""
    paths = golden.scripts()
    if not paths:
        raise FileNotFoundError("the golden packets are not installed with intswitch")
    names = [path.stem for path in paths]
    wanted = matching(names, "--only", only) if only else set(names)
    wanted -= matching(names, "--except", excepted)
    if not wanted:
        raise ValueError("--only and --except: no script is left")
    return [golden.read(path) for path in paths if path.stem in wanted]


def matching(names: Sequence[str], option: str, patterns: Sequence[str]) -> set[str]:
    found: set[str] = set()
    for pattern in patterns:
        those = fnmatch.filter(names, pattern)
        if not those:
            raise ValueError(
                f"{option} {pattern}: no such script; --list shows them all"
            )
        found |= set(those)
    return found


def of_rule(scripts: Sequence[Script], rule: Rule) -> list[Script]:
    found = [script for script in scripts if script.rule == rule]
    if not found:
        other = Rule(1 - rule).name.lower()
        raise ValueError(
            f"--only {scripts[0].name}: is of the rule {other}: add --rule {other}"
        )
    return found


def endpoint_of(target: str | None, file: SwitchConfig | None) -> str:
    """As said; else where the file says that the switch is."""
    if target:
        return target
    if file:
        return text_of((file.address, file.port))
    raise ValueError(
        "--target HOST:PORT: expected the switch to test, such as 127.0.0.1:48864 "
        "(or --list, or --jobs)"
    )


def rule_of(rule: str | None, file: SwitchConfig | None) -> Rule:
    """As said; else as the file says; else safe."""
    if file is None:
        return Rule[(rule or "safe").upper()]
    if rule and Rule[rule.upper()] != file.rule:
        raise ValueError(
            f"--rule {rule}: but the file of --fixed says {file.rule.name.lower()}"
        )
    return file.rule
