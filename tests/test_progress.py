"""What a training says while it runs, where nobody looks at a terminal."""

import io
from dataclasses import replace

from results import result
from rich.console import Console
from rich.text import Text

from intswitch.progress import Display


def told(prefix: str) -> list[str]:
    one = result(element_type="int8")
    console = Console(file=io.StringIO(), width=100)
    with Display(console) as display:
        display.prefix = prefix
        display.status("preparing")
        display.started(one.training, replace(one.started, steps=8))
        display.stepped(1, 2.0)
        display.evaluated(one.evaluations[0])
    return console.file.getvalue().splitlines()  # type: ignore[attr-defined]


def test_one_training() -> None:
    assert told("") == [
        "preparing ...",
        "step 2/8  loss 2.000  test accuracy 37.5 %",
    ]


def test_one_of_several_says_its_method() -> None:
    assert told("3/4 ") == [
        "3/4 preparing ...",
        "3/4 intsgd int8  step 2/8  loss 2.000  test accuracy 37.5 %",
    ]


def test_trainings_at_the_same_time_have_a_bar_each() -> None:
    one = result(element_type="int8")
    console = Console(file=io.StringIO(), width=100)
    with Display(console) as display:
        displays = display.of_jobs(["[red]", "[/blue]"])
        for number, each in enumerate(displays):
            each.started(one.training, replace(one.started, steps=8 + number))
        displays[0].evaluated(one.evaluations[0])
        displays[1].evaluated(one.evaluations[0])
    assert console.file.getvalue().splitlines() == [  # type: ignore[attr-defined]
        "[red] intsgd int8  step 2/8  test accuracy 37.5 %",
        "[/blue] intsgd int8  step 2/9  test accuracy 37.5 %",
    ]
    bars = [str(Text.from_markup(task.description)) for task in display.progress.tasks]
    assert bars == ["[red] digits intsgd int8", "[/blue] digits intsgd int8"]
