import importlib
import shutil
import sys
from collections.abc import Iterator
from types import ModuleType

import numba
import pytest
from bmv2 import (
    COMPILER,
    P4RUNTIME_TOOLS,
    THRIFT_TOOLS,
    Bmv2,
    Program,
    by_p4runtime,
    by_thrift,
    compile_program,
    missing,
    running,
)

ONE_AFTER_THE_OTHER = ("test_bmv2", "test_namespaces", "test_doctor", "test_p4")
"""Files whose tests make namespaces, look for those left behind, or run BMv2."""
FIRST = ("namespaces", "test_torch_examples", "test_torch", "test_sim", "test_compare")
"""Groups that take long: begun last, one would run while the other process idles."""


@pytest.hookimpl(wrapper=True)
def pytest_collection_modifyitems(
    config: pytest.Config, items: list[pytest.Item]
) -> Iterator[None]:
    """What pytest-xdist, if it is there, gives to one process: a file."""
    for item in items if config.pluginmanager.has_plugin("xdist") else []:
        item.add_marker(pytest.mark.xdist_group(group_of(item)))
    items.sort(key=lambda item: (*FIRST, group_of(item)).index(group_of(item)))
    yield
    grouped = getattr(config.option, "loadgroup", False)
    if grouped and not all("@" in item.nodeid for item in items):
        raise pytest.UsageError("this pytest-xdist cannot group this pytest's tests")


def group_of(item: pytest.Item) -> str:
    name = item.path.stem
    return "namespaces" if name.startswith(ONE_AFTER_THE_OTHER) else name


@pytest.fixture(scope="session")
def uncompiled() -> ModuleType:
    """`switch.pipeline`, imported a second time with its kernels left plain Python."""
    compiled = {name: sys.modules[name] for name in list(sys.modules) if is_ours(name)}
    for name in compiled:
        del sys.modules[name]
    was_disabled = numba.config.DISABLE_JIT
    numba.config.DISABLE_JIT = True
    try:
        pipeline = importlib.import_module("switch.pipeline")
    finally:
        numba.config.DISABLE_JIT = was_disabled
        for name in [name for name in sys.modules if is_ours(name)]:
            del sys.modules[name]
        sys.modules.update(compiled)
    assert not hasattr(pipeline.run, "py_func"), "a compiled kernel"
    return pipeline


def is_ours(module: str) -> bool:
    return module.split(".")[0] == "switch"


@pytest.fixture(scope="session")
def program(tmp_path_factory: pytest.TempPathFactory) -> Program:
    """Our P4 program, compiled."""
    if not shutil.which(COMPILER):
        pytest.skip(f"not on PATH: {COMPILER}")
    return compile_program(tmp_path_factory.mktemp("p4"))


@pytest.fixture(scope="session")
def bmv2(program: Program) -> Iterator[Bmv2]:
    """BMv2 running our P4 program, to be configured by each test."""
    reason = missing(THRIFT_TOOLS)
    if reason:
        pytest.skip(f"BMv2: {reason}")
    with running(by_thrift, program) as switch:
        yield switch


@pytest.fixture(scope="session")
def bmv2_grpc(program: Program) -> Iterator[Bmv2]:
    """The same for `simple_switch_grpc`, programmed over P4Runtime."""
    pytest.importorskip("finsy")
    reason = missing(P4RUNTIME_TOOLS)
    if reason:
        pytest.skip(f"BMv2: {reason}")
    with running(by_p4runtime, program) as switch:
        yield switch


@pytest.fixture(params=["bmv2", "bmv2_grpc"])
def either_bmv2(request: pytest.FixtureRequest) -> Bmv2:
    """One after the other."""
    switch: Bmv2 = request.getfixturevalue(request.param)
    return switch
