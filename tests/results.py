"""Made-up results, for tests of what is made of results."""

from intswitch.experiment import (
    PHASES,
    Evaluated,
    Finished,
    Option,
    Result,
    Started,
    Training,
)

STEPS = 4


def result(
    compressor: str = "intsgd",
    accuracy: float | None = 0.75,
    *,
    seed: int = 0,
    loss: float = 0.5,
    **options: Option,
) -> Result:
    """Two workers, four steps, 1000 parameters; worker 1 is as worker 0, but double."""
    return Result(
        training=Training(
            workload="digits", compressor=compressor, options=options, seed=seed
        ),
        started=Started(
            steps=STEPS,
            parameters=1000,
            batch_size=8,
            lr=0.1,
            momentum=0.9,
            metric="loss" if accuracy is None else "accuracy",
            loss_name="test loss",
        ),
        evaluations=[
            Evaluated(step=2, loss=3 * loss, accuracy=accuracy and accuracy / 2),
            Evaluated(step=STEPS, loss=loss, accuracy=accuracy),
        ],
        workers=[finished(1), finished(2)],
        wall_seconds=1.5,
    )


def finished(factor: int) -> Finished:
    return Finished(
        losses=[factor * loss for loss in (4.0, 3.0, 2.0, 1.0)],
        bytes_up=[factor * 1000] * STEPS,
        bytes_down=[factor * 2000] * STEPS,
        largest_integers=[factor * integer for integer in (5, 70, 6, 7)],
        largest_sum=factor * 10,
        seconds=dict.fromkeys(PHASES, factor * 0.004),
        packets_sent=factor * 100,
        packets_received=factor * 99,
        retransmissions=factor * 3,
        clips=factor * 11,
        overflows=factor,
        weights="abc",
        counters={
            "accepted": 400,
            "results": 200,
            "replays": 3,
            "stale": 2,
            "ahead": 0,
        },
    )
