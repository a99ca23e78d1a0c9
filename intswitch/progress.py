"""How work looks while it is done: a bar on a terminal, else a line now and then."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
)

from intswitch.experiment import Evaluated, Started, Training

SMOOTHING = 0.9
"""Share of the old value in the running mean of the loss that is shown."""


def percent(accuracy: float) -> str:
    return f"{100 * accuracy:.1f} %"


def number(value: float) -> str:
    """A loss: small ones need an exponent."""
    return f"{value:.3f}" if abs(value) >= 0.01 or value == 0 else f"{value:.2e}"


class Bar:
    """A bar, of which nothing stays; none where the console is no terminal."""

    def __init__(
        self, console: Console, *columns: ProgressColumn, **fields: Any
    ) -> None:
        """columns: between the count and the time. fields: at first, of columns."""
        self.console = console
        self.progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            *columns,
            TimeElapsedColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self.task = self.progress.add_task("", total=None, **fields)

    def __enter__(self) -> Self:
        self.progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.progress.stop()


class Display(Bar):
    """A `Watcher` that draws. `prefix` says which of several trainings this is."""

    def __init__(self, console: Console) -> None:
        super().__init__(console, TextColumn("{task.fields[figures]}"), figures="")
        self.prefix = self.label = ""
        self.steps = 0
        self.loss: float | None = None
        self.latest = ""

    def of_jobs(self, names: Sequence[str]) -> list[Self]:
        """One for each of several trainings at the same time, bar below bar."""
        displays = [copy(self) for _ in names]
        for display, name in zip(displays, names, strict=True):
            display.prefix = f"{escape(name)} "  # "[red]" is no colour
        for display in displays[1:]:  # the first has this one's bar
            display.task = self.progress.add_task(
                display.prefix, total=None, figures=""
            )
        return displays

    def status(self, text: str) -> None:
        """What takes long just now."""
        if self.console.is_terminal:
            self.progress.reset(
                self.task, total=None, description=self.prefix + text, figures=""
            )
        else:
            self.console.print(f"{self.prefix}{text} ...", highlight=False)

    def started(self, training: Training, started: Started) -> None:
        self.steps, self.label = started.steps, training.label
        self.loss, self.latest = None, ""
        self.progress.reset(
            self.task,
            total=started.steps,
            description=f"{self.prefix}{training.workload} {training.label}",
            figures="",
        )

    def stepped(self, step: int, loss: float) -> None:
        old = loss if self.loss is None else self.loss
        self.loss = SMOOTHING * old + (1 - SMOOTHING) * loss
        self._draw(step)

    def evaluated(self, evaluated: Evaluated) -> None:
        accuracy = evaluated.accuracy
        self.latest = f"test loss {number(evaluated.loss)}"
        if accuracy is not None:
            self.latest = f"test accuracy {percent(accuracy)}"
        self._draw(evaluated.step)
        if not self.console.is_terminal:
            which = f"{self.prefix}{self.label}  " if self.prefix else ""
            self.console.print(
                f"{which}step {evaluated.step}/{self.steps}  {self._figures()}",
                highlight=False,
            )

    def _figures(self) -> str:
        loss = "" if self.loss is None else f"loss {number(self.loss)}  "
        return loss + self.latest

    def _draw(self, step: int) -> None:
        self.progress.update(self.task, completed=step, figures=self._figures())
