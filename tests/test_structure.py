"""The shape of the source tree: who may import whom, and how long anything may be.

Read from the syntax, without importing anything. Every exception to a rule stands in
one of the tables below, by name.
"""

import ast
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import pytest

ROOT = Path(__file__).parent.parent
LIBRARY = ("switch", "host", "intswitch")
STUBS = "switch/stubs/"  # generated; exempt from everything

MOST_LINES_OF_A_FILE = 400
MOST_LINES_OF_A_FUNCTION = 50
MEDIAN_LINES_OF_A_FUNCTION = 10

# Of `switch`, the host side knows what both ends of a wire share, and nothing of slots,
# jobs or the pipeline.
HOST_MAY_IMPORT = (
    "switch.protocol",
    "switch.codes",
    "switch.parser",
    "switch.byteorder",
    "switch.udp",
    "switch.messages",
    "switch.addresses",
    "switch.system",
    "switch.compiled",
    "switch.stubs",
)

SOCKETS = (
    "intswitch/fuzz/run.py",  # a stranger's
    "switch/udp.py",
    "switch/addresses.py",  # the layout of a sockaddr; a name to an address
    "switch/messages.py",
    "switch/server.py",
    "switch/service.py",
    "host/agent.py",
    "host/transport.py",
    "switch/p4_server.py",
    "intswitch/fabrics/",
    "intswitch/child.py",  # pipes of child processes
    "intswitch/conformance/udp.py",  # the workers of a switch under test
    "intswitch/conformance/ethernet.py",
)
CLOCKS = (
    "intswitch/fuzz/run.py",  # how fast to send
    "switch/server.py",
    "switch/p4_server.py",  # how long a switch may take to start
    "switch/service.py",
    "host/agent.py",
    "host/transport.py",
    "host/controller.py",
    "intswitch/fabrics/",
    "intswitch/child.py",  # how long a child may take to end
    "intswitch/switch_process.py",  # ... and to start
    "intswitch/train.py",  # the time a training takes
    "intswitch/trainer.py",  # ... and its phases
    "intswitch/sim/network.py",  # ... where the network's time is virtual
    "intswitch/explore/command.py",  # the time that an exploration took
    "intswitch/reproduce/fastsgd_coding.py",  # the time that coding takes
    "intswitch/conformance/udp.py",  # how long a switch under test may take to answer
    "intswitch/conformance/ethernet.py",
    "intswitch/conformance/network.py",
    "intswitch/conformance/runner.py",
)
# Module -> the files of the library (or folders) that may import it.
ONLY_IN: dict[str, tuple[str, ...]] = {
    "numba": ("switch/compiled.py",),
    "scapy": (),
    "torch.distributed": (
        "host/ddp.py",
        "host/compressors/exact.py",
        "intswitch/autoload.py",  # tells torch of the backend
        "intswitch/backend.py",
        "intswitch/beside.py",
        "intswitch/reductions.py",
        "intswitch/work.py",
        "intswitch/gloo.py",  # starts and ends the process group that `exact` uses
    ),
    "pydantic": (
        "intswitch/yaml_model.py",
        "intswitch/configuration.py",
        "intswitch/p4_configuration.py",
        "intswitch/link_faults.py",
        "intswitch/access.py",
        "intswitch/topology.py",
    ),
    "yaml": ("intswitch/yaml_model.py",),
    "grpc": (
        "intswitch/fuzz/calls.py",
        "host/channel.py",
        "switch/service.py",
        "switch/relay.py",
        "switch/p4runtime.py",
        "host/controller.py",
    ),
    "finsy": ("switch/p4runtime.py",),
    "pyroute2": ("intswitch/fabrics/namespaces.py",),
    "switch.stubs": (
        "intswitch/fuzz/calls.py",
        "host/channel.py",
        "switch/service.py",
        "switch/relay.py",
        "switch/translation.py",
        "host/controller.py",
    ),
    # names to addresses, where YAML is read
    # ... and what sockets can do on this machine
    "socket": (*SOCKETS, "intswitch/configuration.py", "intswitch/doctor.py"),
    "select": SOCKETS,
    "selectors": SOCKETS,
    "ctypes": ("switch/compiled.py",),  # the C library, where nothing is compiled
    # what touches a socket or a clock from within a kernel
    "switch.system": (
        "switch/messages.py",
        "switch/server.py",
        "host/exchange.py",
        "host/transport.py",
    ),
    "asyncio": ("switch/service.py",),
    "subprocess": (
        "switch/simple_switch.py",
        "intswitch/child.py",
        "intswitch/p4_program.py",  # the compiler
        "intswitch/tether.py",
        "intswitch/fabrics/",
    ),
    "time": CLOCKS,
}


def sources(*folders: str) -> list[Path]:
    found = [path for folder in folders for path in (ROOT / folder).rglob("*.py")]
    return sorted(path for path in found if not name_of(path).startswith(STUBS))


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def imports(source: str) -> Iterator[str]:
    """Every module that `source` imports, at its top or in a function.

    `from a import b` may mean the module a.b, so both are told.
    """
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "a relative import"
            yield str(node.module)
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def belongs(module: str, package: str) -> bool:
    return module == package or module.startswith(package + ".")


def functions(path: Path) -> Iterator[tuple[str, int]]:
    """Name and lines of every function, decorators apart."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno is not None
            yield f"{name_of(path)}:{node.name}", node.end_lineno - node.lineno + 1


LIBRARY_FILES = sources(*LIBRARY)
ALL_FILES = sources(*LIBRARY, "tests", "benchmarks", "examples")


def test_the_tree_is_where_it_is_looked_for() -> None:
    assert {name_of(path).split("/")[0] for path in LIBRARY_FILES} == set(LIBRARY)


@pytest.mark.parametrize("path", sources("switch"), ids=name_of)
def test_switch_stands_alone(path: Path) -> None:
    for module in imports(path.read_text()):
        assert module.split(".")[0] not in ("host", "intswitch"), module


@pytest.mark.parametrize("path", sources("host"), ids=name_of)
def test_host_knows_of_the_switch_only_what_both_share(path: Path) -> None:
    for module in imports(path.read_text()):
        assert module.split(".")[0] != "intswitch", module
        if belongs(module, "switch") and module != "switch":
            assert any(belongs(module, known) for known in HOST_MAY_IMPORT), module


@pytest.mark.parametrize("path", LIBRARY_FILES, ids=name_of)
def test_modules_are_imported_only_where_they_belong(path: Path) -> None:
    modules = list(imports(path.read_text()))
    for restricted, places in ONLY_IN.items():
        if not name_of(path).startswith(places or ("nowhere",)):
            found = [module for module in modules if belongs(module, restricted)]
            assert not found, f"{restricted} is imported"


@pytest.mark.parametrize("path", ALL_FILES, ids=name_of)
def test_no_file_is_long(path: Path) -> None:
    lines = path.read_text().count("\n")
    assert lines <= MOST_LINES_OF_A_FILE


@pytest.mark.parametrize("path", ALL_FILES, ids=name_of)
def test_no_function_is_long(path: Path) -> None:
    for name, lines in functions(path):
        assert lines <= MOST_LINES_OF_A_FUNCTION, name


def test_most_functions_are_short() -> None:
    lines = [lines for path in LIBRARY_FILES for _, lines in functions(path)]
    assert median(lines) <= MEDIAN_LINES_OF_A_FUNCTION


@pytest.mark.parametrize(
    ("source", "module"),
    [
        ("import socket", "socket"),
        ("import socket as s", "socket"),
        ("from socket import socket", "socket"),
        ("def f():\n    import torch.distributed", "torch.distributed"),
        ("from torch import distributed", "torch.distributed"),
        ("from switch import pipeline", "switch.pipeline"),
    ],
)
def test_every_form_of_import_is_seen(source: str, module: str) -> None:
    assert any(belongs(found, module) for found in imports(source))
