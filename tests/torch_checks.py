"""What tests/test_torch.py runs in processes of torch: one check after the other, each
a function that asserts. The ranks write what came of them to a file each.

    RANK=0 WORLD_SIZE=4 ... python tests/torch_checks.py FOLDER
"""

import json
import sys
import traceback
from collections.abc import Callable
from datetime import timedelta
from importlib import import_module
from pathlib import Path
from time import monotonic
from typing import Any

import torch
import torch.distributed as dist

TIMEOUT = timedelta(seconds=60)
CHECKS: dict[str, Callable[[], Any]] = {}
OUTCOMES: dict[str, str] = {}
GROUPS: dict[str, Any] = {}


def check(function: Callable[[], Any]) -> Callable[[], Any]:
    CHECKS[function.__name__] = function
    return function


def rank() -> int:
    return dist.get_rank()


def group() -> Any:
    return dist.group.WORLD


def raised(error: type[Exception], call: Callable[[], Any]) -> str:
    try:
        call()
    except error as found:
        return str(found)
    raise AssertionError(f"no {error.__name__}")


def finish() -> None:
    Path(sys.argv[1], f"{rank()}.json").write_text(json.dumps(OUTCOMES))


def main() -> None:
    torch.set_num_threads(1)
    dist.init_process_group("intswitch", timeout=TIMEOUT)
    GROUPS["gloo"] = dist.new_group(backend="gloo", timeout=TIMEOUT)
    for module in ("torch_collectives", "torch_models", "torch_failures"):
        import_module(module)
    for name, function in CHECKS.items():
        OUTCOMES[name] = "it has not ended"
        finish()
        started = monotonic()
        try:
            function()
            OUTCOMES[name] = "ok"
        except BaseException:
            OUTCOMES[name] = traceback.format_exc()
        print(f"{name}: {monotonic() - started:.2f} s", flush=True)
    finish()


if __name__ == "__main__":
    from torch_checks import main as run  # of the module that the checks know

    run()
