"""The test kit for other people's switches: golden packets against any target.

`run(map(read, scripts()), target)` gives an Outcome for every script. A target is what
has the four methods of Target: docs/conformance.md.
"""

from intswitch.conformance.runner import Outcome, run
from intswitch.conformance.script import Script, parse, read, scripts
from intswitch.conformance.target import Skip, Target, Unanswered, Violation

__all__ = [
    "Outcome",
    "Script",
    "Skip",
    "Target",
    "Unanswered",
    "Violation",
    "parse",
    "read",
    "run",
    "scripts",
]
