"""`intswitch fuzz`: options in, exit status out."""

from __future__ import annotations

from rich.console import Console

from intswitch.fuzz.run import Outcome, run
from switch.protocol import DropReason

MIB = 2**20
WARM = 5
"""Looks at the memory before it has to be flat: buffers are filled once."""
FLAT = 8 * MIB
"""By how much it may vary after that."""


def fuzz(datagrams: int, calls: int, seed: int, console: Console) -> int:
    """Run, report; 1 if the switch's memory has grown. Raises as `run` does."""
    with console.status("fuzzing") as status:
        outcome = run(
            datagrams,
            calls,
            seed,
            lambda so_far: status.update(
                f"{so_far.datagrams:,} datagrams, {so_far.calls:,} calls"
            ),
        )
    show(outcome, console)
    return int(grown(outcome) > FLAT)


def grown(outcome: Outcome) -> int:
    """Bytes from the first look that counts to the last."""
    memory = outcome.memory[WARM:] or outcome.memory
    return memory[-1] - memory[0]


def show(outcome: Outcome, console: Console) -> None:
    counted = outcome.counted or {}
    dropped = sum(counted[reason.name.lower()] for reason in DropReason)
    memory = ", ".join(f"{each / MIB:.0f}" for each in outcome.memory)
    console.print(
        f"{outcome.datagrams:,} datagrams and {outcome.calls:,} calls in"
        f" {outcome.seconds:.0f} s; no crash",
        f"good job     {outcome.sums:,} sums, every one exact",
        f"switch       {dropped:,} packets dropped, {counted['accepted']:,} accepted,"
        f" {outcome.refused:,} calls refused",
        f"memory       {memory} MiB ({grown(outcome) / MIB:+.1f} after the start)",
        sep="\n",
        highlight=False,
    )
