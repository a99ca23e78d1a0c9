"""Studies in virtual time: what a laptop cannot hold, each a figure and a CSV."""

from __future__ import annotations

from importlib import import_module

from intswitch.study.base import Study

STUDIES = {
    "loss": "Completion time against the loss rate, by window, timeout and repair",
    "slots": "Goodput against slots, and against the bandwidth-delay product",
    "collectives": "In-network, ring and parameter server, by the number of workers",
    "depth": "Completion time against the depth of the tree of switches",
    "jobs": "What a second job does to a first that shares its links",
}


def load(name: str) -> Study:
    """A study by its name. Raises ValueError for a name that is none."""
    if name not in STUDIES:
        raise ValueError(f"study {name}: expected one of {', '.join(STUDIES)}")
    study: Study = import_module(f"intswitch.study.{name}").study
    return study
