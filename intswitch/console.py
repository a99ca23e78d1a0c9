"""Where results are printed."""

from __future__ import annotations

import os

from rich.console import Console

PIPE_WIDTH = 150  # columns, where the output is no terminal


def new_console() -> Console:
    console = Console()
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = PIPE_WIDTH
    return console
