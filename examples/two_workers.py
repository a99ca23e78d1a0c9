"""Two processes fit a line together; the switch adds their gradients as int8.

python examples/two_workers.py
"""

import multiprocessing

import numpy as np

import intswitch

STEPS, LEARNING_RATE = 200, 0.1
TRUE_WEIGHTS = np.array([1.0, -2.0, 3.0], np.float32)


def train(rank: int, switch: str) -> None:
    random = np.random.default_rng(rank)  # each worker has data of its own
    inputs = random.standard_normal((500, 3), np.float32)
    targets = inputs @ TRUE_WEIGHTS + 0.1 * random.standard_normal(500, np.float32)
    weights = np.zeros(3, np.float32)
    intsgd = intswitch.compressor("intsgd", element_type="int8", seed=0)
    with intswitch.join(switch, job="line", rank=rank, num_workers=2) as network:
        for _ in range(STEPS):
            gradient = inputs.T @ (inputs @ weights - targets) / len(inputs)
            weights -= LEARNING_RATE * intsgd.average(gradient, network)
    print(f"worker {rank}: weights {np.round(weights, 2)}", flush=True)


def main() -> None:
    with intswitch.Switch("127.0.0.1", 0) as switch:
        workers = [
            multiprocessing.Process(target=train, args=(rank, switch.endpoint))
            for rank in range(2)
        ]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()


if __name__ == "__main__":
    multiprocessing.set_start_method("spawn")
    main()
