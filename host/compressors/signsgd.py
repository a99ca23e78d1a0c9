"""signSGD with majority vote: one sign an element, up and down.

Bernstein, Wang, Azizzadenesheli, Anandkumar, "signSGD: Compressed Optimisation for
Non-Convex Problems" (ICML 2018), Algorithm 3. Each worker votes, the majority decides:

    estimate = sign(sum_i sign(g_i))

The switch counts the votes (`path="network"`, int8 sums), or all workers have each
other's as packed bits (`path="gather"`). The estimate is not the mean: its elements are
-1, 0 and 1, so that the learning rate is the length of a step (the paper's default:
1e-4), and there is no error feedback around it.

Differences from the paper: a zero is no vote, and a tie gives 0; theirs has two signs
only. So a message has two bits an element: which are positive, and which negative.
"""

from typing import Any

import numpy as np

from host.compressors.base import Compressor, Layout, Network, moved
from host.compressors.codewise import codewise
from host.compressors.integers import one_of
from host.compressors.scaled import PATHS, ScaledCompressor, elementwise
from host.compressors.stream import non_finite_error
from host.compressors.union import gather_of

NOT_FINITE = b""
"""Message of a worker with a NaN or an infinity."""


class SignSGD(ScaledCompressor):
    """See the module. State: step."""

    devices = True
    share = Compressor.share  # there is none: the estimate is no mean of shares

    def __init__(self, *, path: str = "network") -> None:
        """path: network or gather."""
        super().__init__("int8", None, "deterministic", seed=0)
        self.path = one_of("path", path, PATHS)

    def estimate(
        self, vector: Any, mean: Any, network: Network, layout: Layout
    ) -> None:
        if len(vector) == 0:
            return
        if self.path == "network":
            self.count_votes(vector, mean, network, layout)
        else:
            self.read_votes(vector, mean, network, layout)

    def count_votes(
        self, vector: Any, mean: Any, network: Network, layout: Layout
    ) -> None:
        """In the switch."""
        operations = codewise(vector).operations
        votes = operations.sign(vector)
        votes[~operations.isfinite(vector)] = np.nan  # for the stream to find
        stream = elementwise(vector).sum(
            votes,
            mean,
            network,
            self.form,
            block_ends=np.array([len(votes)]),
            scales=np.ones(1, np.float32),
            key=None,
        )
        self.complete(stream, network, layout)
        mean[:] = operations.sign(mean)

    def read_votes(
        self, vector: Any, mean: Any, network: Network, layout: Layout
    ) -> None:
        """From everybody's message. Raises ValueError, on every worker, for one of
        another length.

        From a device come its bits, and a byte an element goes back.
        """
        place = codewise(vector)
        first = elementwise(vector).first_non_finite(vector)
        signs = place.operations.concatenate([vector > 0, vector < 0])
        message = place.packbits(signs).tobytes() if first is None else NOT_FINITE
        votes, length = np.zeros(len(vector), np.int64), -(-len(signs) // 8)
        messages = gather_of(message, network, self.statistics)
        if NOT_FINITE in messages:
            raise non_finite_error(first, layout, network.rank, self.step)
        for rank, each in enumerate(messages):
            if len(each) != length:
                raise ValueError(
                    f"the message of worker {rank} has {len(each)} bytes: "
                    f"must have {length}"
                )
            bits = np.unpackbits(np.frombuffer(each, np.uint8), count=len(signs))
            votes += bits[: len(vector)].astype(np.int64) - bits[len(vector) :]
        mean[:] = moved(np.sign(votes).astype(np.int8), mean)
