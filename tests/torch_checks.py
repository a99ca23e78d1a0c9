"""What tests/test_torch.py runs in processes of torch: one check after the other, each
a function that asserts. The ranks write what came of them to a file each.

    python tests/torch_checks.py FOLDER PORT PORT
"""

import json
import os
import re
import sys
import traceback
from collections.abc import Callable
from contextlib import redirect_stdout
from datetime import timedelta
from importlib import import_module
from io import StringIO
from pathlib import Path
from time import monotonic
from typing import Any

import torch
import torch.distributed as dist
from torch_processes import compile_kernels, forked

from intswitch import Switch
from intswitch.job import WIDE

RANKS = 4
MODULES = ("torch_collectives", "torch_models", "torch_failures", "fsdp2")
EXAMPLES = Path(__file__).parent.parent / "examples"
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


def run(name: str, function: Callable[[], Any]) -> None:
    OUTCOMES[name] = "it has not ended"
    started = monotonic()
    try:
        function()
        OUTCOMES[name] = "ok"
    except BaseException:
        OUTCOMES[name] = traceback.format_exc()
    print(f"{name}: {monotonic() - started:.2f} s", flush=True)


def the_example_of_fsdp2() -> None:
    """With a process group of its own."""
    with redirect_stdout(StringIO()) as printed:
        import_module("fsdp2").main()
    own_rank, lines = int(os.environ["RANK"]), printed.getvalue().splitlines()
    own = 1443 if own_rank < 3 else 1185  # rows of 128 and of 10
    assert lines.pop() == f"rank {own_rank} has {own} of the model's elements"
    if lines:
        [right] = re.findall(r"^step 40: (\d+) of 256 right$", lines[-1])
        assert int(right) > 200


def checks(own_rank: int) -> None:
    os.environ["RANK"] = str(own_rank)
    run("the_example_of_fsdp2", the_example_of_fsdp2)
    # torch's store is at one port until all have let go of it
    os.environ["MASTER_PORT"] = sys.argv[3]
    dist.init_process_group("intswitch", timeout=TIMEOUT)
    GROUPS["gloo"] = dist.new_group(backend="gloo", timeout=TIMEOUT)
    for name, function in CHECKS.items():
        finish()
        run(name, function)
    finish()


def main() -> None:
    torch.set_num_threads(1)
    sizes = dict.fromkeys(("WORLD_SIZE", "LOCAL_WORLD_SIZE"), str(RANKS))
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": sys.argv[2], **sizes}
    sys.path.append(str(EXAMPLES))
    for module in MODULES:
        import_module(module)
    with Switch("127.0.0.1", 0, slot_bytes=WIDE["slot_bytes"]) as switch:
        os.environ["INTSWITCH_SWITCH"] = switch.endpoint
        # in one of their kind: what gRPC is doing here they would wait for
        assert forked(1, lambda _: compile_kernels(switch.endpoint)) == [0]
        sys.exit(any(forked(RANKS, checks)))


if __name__ == "__main__":
    from torch_checks import main as main_of_checks  # of the module that they know

    main_of_checks()
