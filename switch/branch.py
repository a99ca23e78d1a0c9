"""A switch below another one: its workers join there, and their job comes from there.

Sans-IO, as `control.py` is: a stream to the switch above for each of a worker's. Who is
in a job of the switch above is known here as soon as the first of them is told so: by
then all have asked.
"""

from dataclasses import replace
from secrets import randbits

from switch.admission import JoinRequest, Refusal
from switch.control import Control
from switch.events import Joined


class Branch:
    """The streams that this switch passes on. Callers hold the switch's lock."""

    def __init__(self, control: Control) -> None:
        self._control = control
        self._waiting: dict[str, dict[int, JoinRequest]] = {}
        """By job name: who has asked and has no answer, by member."""
        self._above: dict[int, int] = {}
        """Member here -> member at the switch above."""

    def open(self, request: JoinRequest) -> int:
        """A worker asks; the number of its stream. Raises Refusal."""
        self._control.check(request)
        member = randbits(63)  # who knows it may leave in its name
        self._waiting.setdefault(request.job, {})[member] = request
        return member

    def on_joined(self, member: int, job: str, joined: Joined) -> Joined:
        """The switch above has said yes, in its words: the answer in this one's.

        Raises Refusal if this switch cannot have the job.
        """
        waiting = self._waiting[job]
        own, *places = joined.places
        requests = list(waiting.values())
        asked = replace(own, group=self._control.group(own.job, requests))
        config = self._control.adopt(asked, waiting)
        del waiting[member]
        if not waiting:
            del self._waiting[job]
        self._above[member] = joined.member
        answer = self._control.welcome(member, config, tuple(places))
        return replace(answer, window=min(answer.window, joined.window))

    def above(self, member: int) -> int:
        """Its number at the switch above. Raises Refusal if it is in no job."""
        if member not in self._above:
            raise Refusal(f"member {member} is in no job")
        return self._above[member]

    def close(self, member: int, job: str) -> None:
        """A stream has ended, whatever it was."""
        waiting = self._waiting.get(job, {})
        waiting.pop(member, None)
        if not waiting:
            self._waiting.pop(job, None)
        self._above.pop(member, None)
        self._control.forget(member)
