"""intswitch/fabrics/course.py: the course of a training, from what is said and when."""

import json
import math
from typing import Any

import pytest

from intswitch.fabrics.course import LAST_WORDS, MOMENT, Course
from intswitch.topology import JobPart

ENDED = None


class Process:
    """Stands for a Child."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.has_been_ended = False

    def has_ended(self) -> bool:
        return False

    def ending(self) -> str:
        return "ended"

    def errors(self) -> str:
        return ""

    def terminate(self) -> None:
        self.has_been_ended = True


SWITCH, A, B = Process("switch"), Process("a"), Process("b")


@pytest.fixture
def heard() -> list[Any]:
    return []


@pytest.fixture
def course(heard: list[Any]) -> Course:
    """Of two workers; it begins at 10 s."""
    workers: list[Any] = [A, B]
    A.has_been_ended = False
    found = Course(
        JobPart.model_validate({"name": "job", "workers": ["x", "y"]}),
        workers,
        lambda rank, event: heard.append((rank, event["event"])),
        lambda course: heard.append("begins"),
    )
    found.begins = 10.0
    return found


def take(course: Course, child: Any, event: str | None, now: float) -> None:
    line = event and json.dumps({"event": event, "message": "no"})
    course.take(child, line, now)


def begin(course: Course) -> None:
    course.proceed(10.0, [])


def test_it_begins_once_and_ends_with_its_last_worker(
    course: Course, heard: list[Any]
) -> None:
    course.proceed(9.9, [])
    assert (heard, course.next_moment) == ([], 10.0)
    begin(course)
    course.proceed(11.0, [])
    assert (heard, course.next_moment) == (["begins"], math.inf)
    take(course, B, "finished", 12.0)
    assert not course.is_over
    take(course, A, "finished", 13.0)
    take(course, A, ENDED, 14.0)
    assert course.is_over
    assert course.outcome == [{"event": "finished", "message": "no"}] * 2
    assert heard == ["begins", (1, "finished"), (0, "finished")]


@pytest.mark.parametrize(
    ("begun", "said", "gives_up"),
    [
        (True, [(A, ENDED, 20.0)], 20.0 + LAST_WORDS),
        (True, [(A, "error", 20.0)], 20.0 + LAST_WORDS),
        # there is nobody yet who could notice
        (False, [(A, ENDED, 5.0)], 5.0 + MOMENT),
        # what comes later does not give more time
        (True, [(A, ENDED, 20.0), (SWITCH, ENDED, 21.0)], 20.0 + LAST_WORDS),
        # everybody has been heard
        (True, [(A, ENDED, 20.0), (B, "error", 21.0)], 21.0),
        (True, [(A, "error", 20.0), (B, "error", 21.0)], 21.0 + MOMENT),
    ],
)
def test_when_it_gives_up(
    course: Course, begun: bool, said: list[Any], gives_up: float
) -> None:
    if begun:
        begin(course)
    for child, event, now in said:
        take(course, child, event, now)
    assert course.next_moment == gives_up
    course.proceed(gives_up - 0.01, [])
    assert not course.is_over
    course.proceed(gives_up, [])
    assert course.is_over
    assert A.has_been_ended


def test_who_is_silent_is_the_cause_and_nobody_is_heard_behind_a_failure(
    course: Course, heard: list[Any]
) -> None:
    begin(course)
    take(course, A, "error", 20.0)
    take(course, B, "finished", 20.1)
    take(course, SWITCH, ENDED, 20.2)
    take(course, A, ENDED, 20.3)
    course.proceed(99.0, [])
    assert str(course.outcome) == "switch ended\na: no"
    assert heard == ["begins"]


def test_a_course_that_failed_does_not_begin(course: Course, heard: list[Any]) -> None:
    take(course, A, ENDED, 9.8)
    course.proceed(10.0, [])
    assert (heard, course.is_over) == ([], False)
    course.proceed(9.8 + MOMENT, [])
    assert (heard, course.is_over) == ([], True)
