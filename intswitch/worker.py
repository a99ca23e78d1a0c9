"""One worker process: `python -m intswitch.worker`, started by a fabric.

Reads tasks as JSON, one a line, from its standard input, and ends when that is
closed. Writes events as JSON, one a line, to its standard output: started, step,
evaluated, finished, error.
"""

from __future__ import annotations

import json
import os
import queue
import sys
import traceback
from collections.abc import Callable
from typing import Any

from intswitch.child import end_with_parent

Send = Callable[..., None]
EXPECTED = (ValueError, OSError, ImportError)
"""Errors whose text says it all. Of any other, the traceback is worth having."""


def event_pipe() -> Send:
    """A function that sends an event. Whatever else is printed goes to stderr."""
    pipe = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)

    def send(event: str, **fields: Any) -> None:
        pipe.write(json.dumps({"event": event, **fields}) + "\n")

    return send


def describe(error: BaseException) -> dict[str, str]:
    """The fields of an `error` event."""
    from host.agent import AggregationError
    from host.channel import SwitchRefused

    text = str(error) or type(error).__name__
    known = isinstance(error, (*EXPECTED, AggregationError, SwitchRefused))
    known = known or "gloo" in text  # torch raises RuntimeError for whatever happens
    return {"message": text} if known else {"message": traceback.format_exc().strip()}


def serve(tasks: queue.SimpleQueue[str], send: Send) -> None:
    """Do tasks for ever."""
    from intswitch.trainer import train, warm_up

    does: dict[str, Callable[..., None]] = {"warm_up": warm_up, "train": train}
    send("ready")
    while True:
        task = json.loads(tasks.get())
        does[task.pop("task")](send=send, **task)


def main() -> None:
    send = event_pipe()
    tasks: queue.SimpleQueue[str] = queue.SimpleQueue()
    end_with_parent(lambda: os._exit(1), tasks.put)
    try:
        serve(tasks, send)
    except BaseException as error:
        send("error", **describe(error))
        sys.stdout.flush()
        # Not sys.exit: threads of the network may still wait for others.
        os._exit(1)


if __name__ == "__main__":
    main()
