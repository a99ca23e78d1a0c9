"""Workloads: same seed, same run; shares of the workers make up the whole."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from intswitch import workloads  # noqa: E402
from intswitch.workloads import logistic  # noqa: E402
from intswitch.workloads.base import Workload, balanced_split  # noqa: E402

NAMES = list(workloads.WORKLOADS)


def of_all_workers(name: str, num_workers: int, seed: int = 0) -> list[Workload]:
    return [
        workloads.load(name, rank=rank, num_workers=num_workers, seed=seed)
        for rank in range(num_workers)
    ]


def flat(workload: Workload) -> torch.Tensor:
    return torch.cat([part.detach().ravel() for part in workload.model().parameters()])


@pytest.mark.parametrize("name", NAMES)
def test_same_seed_same_run(name: str) -> None:
    first, again = of_all_workers(name, 1)[0], of_all_workers(name, 1)[0]
    assert torch.equal(flat(first), flat(again))
    for step in (0, 7):
        for one, other in zip(first.batch(step, 8), again.batch(step, 8), strict=True):
            assert torch.equal(one, other)


@pytest.mark.parametrize("name", NAMES)
def test_workers_begin_alike_and_see_different_data(name: str) -> None:
    left, right = of_all_workers(name, 2)
    assert torch.equal(flat(left), flat(right))
    assert not torch.equal(left.batch(0, 8)[0], right.batch(0, 8)[0])


@pytest.mark.parametrize("name", ["mnist", "digits", "text"])
def test_other_seed_other_run(name: str) -> None:
    first, other = of_all_workers(name, 1, 0)[0], of_all_workers(name, 1, 1)[0]
    assert not torch.equal(flat(first), flat(other))
    assert not torch.equal(first.batch(0, 8)[0], other.batch(0, 8)[0])


@pytest.mark.parametrize("name", ["mnist", "digits", "text"])
def test_shares_of_the_test_set_add_up(name: str) -> None:
    (whole,) = of_all_workers(name, 1)
    model = whole.model()
    shares = [each.evaluate(model) for each in of_all_workers(name, 3)]
    expected = whole.evaluate(model)
    assert sum(share.count for share in shares) == expected.count
    assert sum(share.correct or 0 for share in shares) == expected.correct
    total = sum(share.loss_sum for share in shares)
    assert total == pytest.approx(expected.loss_sum, rel=1e-5)


def test_an_epoch_shows_every_image_at_most_once() -> None:
    workers = of_all_workers("digits", 4)
    steps = workers[0].steps_per_epoch(32)
    rows = torch.cat([w.batch(s, 32)[0] for w in workers for s in range(steps)])
    assert len(rows) == steps * 4 * 32
    images = workers[0].train[0]  # type: ignore[attr-defined]
    assert len(torch.unique(rows, dim=0)) >= len(torch.unique(images, dim=0)) - 32 * 4


def test_mnist_is_split_evenly() -> None:
    (mnist,) = of_all_workers("mnist", 1)
    train, test = mnist.train, mnist.test  # type: ignore[attr-defined]
    assert train[0].shape == (4000, 1, 28, 28)
    assert test[0].shape == (1000, 1, 28, 28)
    assert torch.bincount(test[1]).tolist() == [100] * 10
    assert torch.bincount(train[1]).tolist() == [400] * 10


def test_balanced_split_deals_out_the_rest() -> None:
    chosen = balanced_split(np.repeat([0, 1, 2], 10), 8, seed=0)
    assert [int(part.sum()) for part in np.split(chosen, 3)] == [3, 3, 2]


def test_text_predicts_the_next_character() -> None:
    inputs, targets = of_all_workers("text", 1)[0].batch(0, 4)
    assert torch.equal(inputs[:, 1:], targets.view(4, -1)[:, :-1])


def test_logistic_workers_disagree_at_the_optimum() -> None:
    """What makes IntSGD's integers grow: the mean gradient vanishes, theirs do not."""
    shards = [logistic.worker_data(rank, 0) for rank in range(4)]
    samples = np.vstack([each[0] for each in shards])
    labels = np.concatenate([each[1] for each in shards])
    best = logistic.optimum(samples, labels).astype(np.float32)
    gradients = []
    gap = 0.0
    for workload in of_all_workers("logistic", 4):
        model = workload.model()
        model.weight.data = torch.from_numpy(best)[None, :]
        workload.loss(model, workload.batch(0, 0)).backward()
        gradients.append(model.weight.grad.numpy().ravel())
        gap += workload.evaluate(model).loss_sum
    assert np.linalg.norm(np.mean(gradients, axis=0)) < 1e-6
    assert min(np.linalg.norm(each) for each in gradients) > 1e-2
    assert abs(gap) < 1e-9


def test_unknown_workload_lists_the_known() -> None:
    with pytest.raises(ValueError, match="'imagenet' is none of mnist, digits, text"):
        workloads.load("imagenet", rank=0, num_workers=1, seed=0)
