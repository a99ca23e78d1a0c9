"""What a run came to: as a table with the failures below it, or as JSON."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from textwrap import shorten

from rich.console import Console, JustifyMethod
from rich.markup import escape
from rich.table import Table

from intswitch import __version__
from intswitch.conformance.runner import Outcome
from intswitch.conformance.script import Script
from switch.protocol import Rule

SHORT = 80  # characters of what a script shows; --list has all of them
COLOURS = {"pass": "green", "fail": "red", "timeout": "red", "skipped": "yellow"}


@dataclass(frozen=True)
class Report:
    target: str
    rule: Rule
    outcomes: list[Outcome]
    other_rule: list[str]
    """Scripts that are of the rule that the target was not held to."""

    @property
    def counts(self) -> Counter[str]:
        return Counter(outcome.result for outcome in self.outcomes)

    @property
    def passed(self) -> bool:
        """Whether something was tested, and all of it was right."""
        counts = self.counts
        return counts["pass"] > 0 and not counts["fail"] and not counts["timeout"]

    def as_json(self) -> str:
        document = {
            "intswitch": __version__,
            "target": self.target,
            "rule": self.rule.name.lower(),
            "passed": self.passed,
            "results": {result: self.counts[result] for result in COLOURS},
            "outcomes": [asdict(outcome) for outcome in self.outcomes],
            "other_rule": self.other_rule,
        }
        return json.dumps(document, indent=2)

    def show(self, console: Console) -> None:
        console.print(self.table())
        for line in [*self.told(), "", *self.summary()]:
            console.print(line, markup=False, highlight=False, soft_wrap=True)

    def table(self) -> Table:
        table = new_table("sent", "received", "result")
        for outcome in self.outcomes:
            table.add_row(
                outcome.script,
                outcome.section,
                escape(shorten(outcome.title, SHORT, placeholder=" ...")),
                f"{outcome.sent:,}",
                f"{outcome.received:,}",
                f"[{COLOURS[outcome.result]}]{outcome.result}[/]",
            )
        return table

    def told(self) -> Iterable[str]:
        """Why scripts failed or were skipped; what did not even begin alike, in one."""
        alike: dict[tuple[str, str], list[str]] = {}
        for outcome in self.outcomes:
            if outcome.reason and not outcome.line and not outcome.sent:
                key = outcome.result, outcome.reason
                alike.setdefault(key, []).append(outcome.script)
            elif outcome.reason:
                yield from ["", *told(outcome)]
        for (result, reason), names in alike.items():
            yield from ["", f"{', '.join(names)}: {result}", f"    {reason}"]

    def summary(self) -> Iterable[str]:
        counts = ", ".join(f"{self.counts[result]} {result}" for result in COLOURS)
        seconds = sum(outcome.seconds for outcome in self.outcomes)
        rule = self.rule.name.lower()
        yield f"{self.target}, rule {rule}: {counts}; {seconds:.1f} s"
        unchecked = sum(outcome.unchecked for outcome in self.outcomes)
        if unchecked:
            yield (
                f"the target does not tell its counters: {unchecked} `count` lines "
                "were not checked"
            )
        other = "switchml" if self.rule == Rule.SAFE else "safe"
        section = f"The slot rule {rule}"
        broken = [each for each in self.outcomes if each.section == section]
        if any(outcome.result == "fail" and outcome.sent for outcome in broken):
            yield (
                f"is the target set to the rule {rule}? It does not keep to it "
                f"(--rule {other} holds it to the other one)"
            )
        if self.other_rule:
            plural = "" if len(self.other_rule) == 1 else "s"
            yield (
                f"not run: {len(self.other_rule)} script{plural} of the rule {other} "
                f"(--rule {other}, where the target is set to it)"
            )


def told(outcome: Outcome) -> Iterable[str]:
    """Why a script failed or was skipped: the line, the packets, the fields."""
    where = f", line {outcome.line}: {outcome.statement}" if outcome.line else ""
    yield f"{outcome.script}: {outcome.result}{where}"
    yield f"    {outcome.reason}"
    if outcome.expected is not None or outcome.found is not None:
        yield f"    expected  {outcome.expected or 'nothing'}"
        yield f"    received  {outcome.found or 'nothing'}"
    for field in outcome.fields:
        yield f"    {field}"


def new_table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("script", no_wrap=True)
    table.add_column("docs/protocol.md", no_wrap=True)
    table.add_column("what it shows")
    for column in columns:
        justify: JustifyMethod = "left" if column in ("rule", "result") else "right"
        table.add_column(column, justify=justify, no_wrap=True)
    return table


def listing(scripts: Iterable[Script]) -> Table:
    table = new_table("rule", "workers", "packets")
    for script in scripts:
        table.add_row(
            script.name,
            script.section,
            escape(script.title),
            script.rule.name.lower(),
            "+".join(str(len(job.workers)) for job in script.jobs),
            f"{script.num_packets:,}",
        )
    return table
