"""host/ddp.py: what the hook does with buckets, over a real switch.

Workers are threads here, and buckets stand-ins; tests/test_torch.py has DDP itself.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from real_switch import RealSwitch, attempt, run_workers, running
from torch import Tensor, distributed, nn

import intswitch
from host.agent import Network
from host.agreement import Disagreement
from host.compressors.base import Piece
from host.compressors.registry import compressor, names
from host.ddp import HookState, hook

N = 2
SIZES = {"embedding": 700, "weight": 1500, "bias": 9}
ONE = [("embedding", "weight", "bias")]
TWO = [("bias",), ("weight", "embedding")]  # as DDP does: the last layers first
STEPS = (ONE, TWO, TWO)
OPTIONS = {
    "fixed": {"element_type": "int32"},
    "memsgd": {"select": "rand", "ratio": 0.1, "shift": 2.0},
    "fastsgd": {"wire": "integers"},
    "natural": {"wire": "integers"},
    "nuqsgd": {"wire": "integers"},
    "qsgd": {"wire": "integers"},
    "qsgdinf": {"wire": "integers"},
}
IN_THE_NETWORK = [name for name in names() if name != "exact"]


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        for name, size in SIZES.items():
            self.register_parameter(name, nn.Parameter(torch.zeros(size)))


class Bucket:
    """Stands for torch's GradBucket."""

    def __init__(
        self, parts: list[nn.Parameter], buffer: Tensor, number: int, last: bool
    ) -> None:
        self.parameters = lambda: parts
        self.buffer = lambda: buffer
        self.index = lambda: number
        self.is_last = lambda: last


@pytest.fixture(scope="module")
def switch() -> Any:
    with running() as started:
        yield started


def gradient(rank: int, step: int, name: str) -> Tensor:
    seed = torch.Generator().manual_seed(100 * step + 10 * rank + len(name))
    return torch.randn(SIZES[name], generator=seed)


def buckets(model: Model, layout: Any, rank: int, step: int) -> list[Any]:
    parts = dict(model.named_parameters())
    return [
        Bucket(
            [parts[name] for name in members],
            torch.cat([gradient(rank, step, name) for name in members]),
            number,
            number == len(layout) - 1,
        )
        for number, members in enumerate(layout)
    ]


def by_hook(state: HookState, model: Model, steps: range, rank: int) -> list[Tensor]:
    means = []
    for step in steps:
        told = [hook(state, b) for b in buckets(model, STEPS[step], rank, step)]
        means += [each.wait().clone() for each in told]
    return means


def directly(made: Any, network: Network, rank: int) -> list[Tensor]:
    means = []
    for step, layout in enumerate(STEPS):
        for number, members in enumerate(layout):
            mean = made.average(
                torch.cat([gradient(rank, step, name) for name in members]),
                network,
                [(name, SIZES[name]) for name in members],
                piece=Piece(number, number == len(layout) - 1),
            )
            means.append(mean)
    return means


def same(one: list[Tensor], other: list[Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("name", IN_THE_NETWORK)
@pytest.mark.parametrize("feedback", [False, True])
def test_the_hook_gives_what_the_compressor_gives(
    switch: RealSwitch, name: str, feedback: bool
) -> None:
    """Bit for bit; and a state saved after the first step goes on from there."""
    options: dict[str, Any] = OPTIONS.get(name, {})
    if feedback:
        if name in ("memsgd", "signsgd"):
            pytest.skip("has none")
        options = options | {"feedback": True}

    def work(network: Network) -> list[Tensor]:
        model, rank = Model(), network.rank
        expected = directly(compressor(name, **options), network, rank)
        state = HookState(model, compressor(name, **options), network)
        means = by_hook(state, model, range(1), rank)
        saved = state.state_dict()
        state.close()
        state = HookState(model, compressor(name, **options), network)
        state.load_state_dict(saved)
        means += by_hook(state, model, range(1, 3), rank)
        state.close()
        assert same(means, expected)
        return means

    zero, one = run_workers(switch, N, work)
    assert same(zero, one)


def failing(switch: RealSwitch, work: Callable[[Network], Any]) -> list[str]:
    """What the workers' exceptions say."""
    outcome = attempt(switch, N, work)
    assert all(isinstance(each, Exception) for each in outcome.values)
    return [f"{type(each).__name__}: {each}" for each in outcome.values]


def test_a_nan_is_an_error_on_every_rank_that_names_the_tensor(
    switch: RealSwitch,
) -> None:
    def work(network: Network) -> None:
        model = Model()
        state = HookState(model, compressor("intsgd"), network)
        (bucket,) = buckets(model, ONE, network.rank, 0)
        if network.rank == 1:
            bucket.buffer()[710] = torch.nan
        try:
            hook(state, bucket).wait()
        finally:
            (bucket,) = buckets(model, ONE, network.rank, 0)
            hook(state, bucket).wait()  # the network can be used further
            state.close()

    zero, one = failing(switch, work)
    assert "NotFinite: worker 0, step 0: the gradient of another worker" in zero
    assert "NotFinite: worker 1, step 0: weight[10] is not finite" in one


def test_another_type_is_an_error_that_names_the_tensor(switch: RealSwitch) -> None:
    def work(network: Network) -> None:
        model = Model()
        state = HookState(model, compressor("intsgd"), network)
        (bucket,) = buckets(model, ONE, network.rank, 0)
        double = bucket.buffer().double()
        bucket.buffer = lambda: double
        hook(state, bucket)

    for text in failing(switch, work):
        assert text.startswith("TypeError: the gradients of embedding, ")
        assert "torch.float64" in text


def test_the_hook_takes_no_other_model() -> None:
    with pytest.raises(TypeError, match="type Linear: the hook goes to what Distribut"):
        intswitch.register_hook(torch.nn.Linear(1, 1))  # type: ignore[arg-type]


def test_bfloat16_is_averaged_as_float32(switch: RealSwitch) -> None:
    def work(network: Network) -> tuple[Tensor, Tensor]:
        model = Model()
        state = HookState(model, compressor("block_exponent"), network)
        (bucket,) = buckets(model, ONE, network.rank, 0)
        narrow = bucket.buffer().bfloat16()
        wide = compressor("block_exponent").average(narrow.float(), network)
        bucket.buffer = lambda: narrow
        mean = hook(state, bucket).wait()
        state.close()
        assert mean is narrow or mean.data_ptr() == narrow.data_ptr()
        return mean, wide

    for mean, wide in run_workers(switch, N, work):
        assert torch.equal(mean, wide.bfloat16())


def test_other_models_are_told(switch: RealSwitch) -> None:
    def work(network: Network) -> None:
        model = nn.Linear(3, 2 + network.rank)
        with pytest.raises(Disagreement) as caught:
            HookState(model, compressor("intsgd"), network)
        assert str(caught.value) == (
            "the workers do not do the same: "
            "rank 0: IntSGD of weight float32 [2, 3], bias float32 [2]; "
            "rank 1: IntSGD of weight float32 [3, 3], bias float32 [3]"
        )
        network.barrier()

    run_workers(switch, N, work)


def test_a_job_without_the_compressors_table_is_told(switch: RealSwitch) -> None:
    def work(network: Network) -> None:
        with pytest.raises(ValueError, match="the job has no code8 table"):
            HookState(Model(), compressor("fastsgd"), network)

    run_workers(switch, 1, work)


def test_another_compressors_state_is_refused(switch: RealSwitch) -> None:
    def work(network: Network) -> None:
        state = HookState(Model(), compressor("intsgd"), network)
        saved = state.state_dict()
        state.close()
        other = HookState(Model(), compressor("fixed"), network)
        with pytest.raises(ValueError, match="of IntSGD: must be of FixedScale"):
            other.load_state_dict(saved)
        other.close()

    run_workers(switch, 1, work)


def test_what_waits_for_others_ends_when_the_hook_is_closed(
    switch: RealSwitch,
) -> None:
    def work(network: Network) -> str:
        model = Model()
        state = HookState(model, compressor("intsgd"), network, network.abort)
        (bucket,) = buckets(model, ONE, network.rank, 0)
        text = ""
        if network.rank == 0:  # rank 1 does not come
            told = hook(state, bucket)
            state.close()
            with pytest.raises(RuntimeError) as caught:
                told.wait()
            text = str(caught.value)
            with pytest.raises(RuntimeError, match="DDP hook is closed"):
                hook(state, bucket)
        else:
            state.close()
        return text

    outcome = attempt(switch, N, work)
    outcome.check()
    assert "chunks done): it is being closed" in outcome.values[0]


def test_scales_and_schedules_count_steps_and_not_buckets(switch: RealSwitch) -> None:
    def work(network: Network) -> tuple[float, int, float, Any]:
        intsgd, memsgd = compressor("intsgd"), compressor("memsgd", shift=1.0)
        means = directly(intsgd, network, network.rank)
        directly(memsgd, network, network.rank)
        squares = [float((mean.double() ** 2).sum()) for mean in means]
        r = squares[0]
        for pair in (squares[1:3], squares[3:5]):
            r = 0.9 * r + 0.1 * sum(pair)
        return r, memsgd.step, intsgd.scale.averages["gradient"], intsgd.scale.elements

    r, steps, found, elements = run_workers(switch, 1, work)[0]
    assert (steps, elements) == (3, sum(SIZES.values()))
    assert found == pytest.approx(r, rel=1e-5)


def test_buckets_have_random_numbers_of_their_own(switch: RealSwitch) -> None:
    def work(network: Network) -> None:
        made = compressor("intsgd", first="constant", alpha_init=1.0)
        half = np.full(500, 0.5, np.float32)
        means = [
            made.average(half, network, piece=Piece(number, number == 1))
            for number in range(2)
        ]
        assert (means[0] != means[1]).any()

    run_workers(switch, 1, work)


def test_what_is_not_said_is_as_the_environment_says(
    switch: RealSwitch, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, text in {"SWITCH": switch.endpoint, "SLOT_BYTES": "256"}.items():
        monkeypatch.setenv(f"INTSWITCH_{name}", text)
    distributed.init_process_group(
        "gloo", store=distributed.HashStore(), rank=0, world_size=1
    )
    try:
        model = nn.parallel.DistributedDataParallel(nn.Linear(3, 2))
        state = intswitch.register_hook(model, num_slots=8)
        assert (state.network.slot_bytes, state.network.num_slots) == (256, 8)
        state.close()
    finally:
        distributed.destroy_process_group()
