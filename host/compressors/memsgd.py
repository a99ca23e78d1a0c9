"""Mem-SGD: few elements are sent, and what is not sent is remembered.

Stich, Cordonnier, Jaggi, "Sparsified SGD with Memory" (NeurIPS 2018). In step t, on
worker i with the gradient g_i and the memory m_i, zero at first:

    u_i  = m_i + eta_t g_i
    c_i  = comp_k(u_i)           top_k, rand_k or ultra-sparsification: see `selection`
    mean = (1/n) sum_i c_i
    m_i  = u_i - c_i

In the network (`path="network"`) the switch adds integers on a support U that all
workers share, and c_i = q_i / alpha on U, with q_i = Int(alpha u_i):

- rand: U comes from a seed that all have. No key is sent.
- top: U is the union of the workers' top k, and every worker sends all it has on U. So
  c_i is at least as good as its own top k.

The memory keeps what rounding left, too. alpha comes from one round of maximum
exponents, one empty packet, in every step: IntSGD's scale needs none, but it follows
the norm of the last estimate, which says little where the elements differ from step to
step, and nothing where most estimates are zero (k < 1). The same packet tells all
workers of a NaN or an infinity, wherever it is, before anything is remembered.

Between the hosts (`path="gather"`) it is the paper's message: an index (uint32) and a
value (float32) for each element of comp_k(u_i). All workers add the n messages in the
order of ranks.

Differences from the paper: it has one worker (or workers that share x without locks,
without theory); here n workers step together, each with its own memory, and x moves by
the mean of the c_i. The memory is float32; theirs is float64. The caller applies its
learning rate to the mean, and the paper applies eta_t where the gradient enters the
memory. With a constant rate that is the same: m_i is the paper's memory divided by it.
For the paper's eta_t = gamma / (lambda (t + a)) give `shift`, a: gradients enter with
the weight eta_t / eta_0 = a / (t + a), and the caller's rate is constant,
eta_0 = gamma / (lambda a). Its average of the iterates is the caller's as well. Without
memory, rand_k is not scaled by d / k, as in the paper: the mean is then short by that.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from host.compressors.base import Layout, Network, moved
from host.compressors.codewise import codewise
from host.compressors.integers import one_of
from host.compressors.memory import Memory
from host.compressors.norms import exponent_of
from host.compressors.quantize import INFINITY_BITS
from host.compressors.scaled import (
    PATHS,
    ScaledCompressor,
    elementwise,
    largest_bits,
)
from host.compressors.scales import exponent_scale
from host.compressors.selection import rand_k, shared_key
from host.compressors.stream import non_finite_error
from host.compressors.union import gather_of, union_of
from switch.protocol import NO_EXPONENT

SELECTIONS = ("top", "rand")
ENTRY = np.dtype([("index", "<u4"), ("value", "<f4")])
"""Of a message of the paper's form."""
DEFAULT_RATIO = 0.01

Part = tuple[Any, Any]
"""Ascending indices, and the values there: arrays, or tensors on the gradient's device.
Elsewhere it is zero."""


class MemSGD(ScaledCompressor):
    """See the module. State: step and memory."""

    devices = True

    def __init__(
        self,
        *,
        select: str = "top",
        k: float | None = None,
        ratio: float | None = None,
        memory: bool = True,
        shift: float | None = None,
        path: str = "network",
        element_type: str = "int8",
        result_type: str | None = None,
        rounding: str = "deterministic",
        seed: int = 0,
    ) -> None:
        """See `ScaledCompressor` (types and rounding: of the network path); besides:

        select: top or rand. k: elements that a worker chooses; with rand it may be
        below 1. ratio: instead of k, their share of all elements; 0.01 if neither is
        given. Both are of each piece: where there are several, give the ratio. memory:
        keep what is not sent. shift: a of the step size, in steps; None: a constant
        step size. path: network or gather.
        """
        super().__init__(element_type, result_type, rounding, seed)
        self.select = one_of("select", select, SELECTIONS)
        self.path = one_of("path", path, PATHS)
        check_count(select, k, ratio)
        if shift is not None and not 0 < shift < float("inf"):
            raise ValueError(f"shift is {shift}: must be above 0 and finite")
        self.k = k
        self.ratio = DEFAULT_RATIO if ratio is None else ratio
        self.shift = shift
        self.memory = Memory() if memory else None
        self.elements = 0
        self.part: Part | None = None
        """c_i of the last step."""

    def estimate(
        self, vector: Any, mean: Any, network: Network, layout: Layout
    ) -> None:
        if len(vector) == 0:
            return
        wanted = vector * self.weight()
        if self.memory:
            self.memory.add_to(wanted, layout, 1)
        chosen = self.choose(wanted)
        average = self.by_sum if self.path == "network" else self.by_messages
        indices, values = average(wanted, chosen, mean, network, layout)
        if self.memory:
            wanted[indices] -= values
            self.memory.store(wanted, layout)
        self.elements, self.part = len(vector), (indices, values)

    def weight(self) -> np.float32:
        """eta_t / eta_0."""
        if self.shift is None:
            return np.float32(1)
        return np.float32(self.shift / (self.step + self.shift))

    def choose(self, wanted: Any) -> Any:
        """Ascending indices of this worker's elements, where they lie."""
        size = len(wanted)
        count = self.ratio * size if self.k is None else self.k
        if count >= 1 or self.select == "top":
            count = max(1, round(count))
        if self.select == "top":
            return codewise(wanted).top_k(wanted, int(count))
        key = shared_key(self.seed, self.step, self.piece.number)
        return codewise(wanted).places(rand_k(size, count, key), wanted)

    def by_sum(
        self,
        wanted: Any,
        chosen: Any,
        mean: Any,
        network: Network,
        layout: Layout,
    ) -> Part:
        """The mean, from integers on a common support; returns this worker's part.

        From a device come integers of the support, and their sums go back; for top, a
        bit for each element comes before, and an index for each of the support goes
        back.
        """
        place = codewise(wanted)
        bits = largest_bits(wanted)
        if bits < INFINITY_BITS:
            bits = largest_bits(wanted[chosen])
        own = np.array([exponent_of(bits)], np.int64)
        exponent = int(self.agreed_exponents(own, wanted, network, layout)[0])
        if exponent == NO_EXPONENT:  # of all workers: nothing is left to send
            mean[:] = 0
            return chosen[:0], wanted[:0]
        support = chosen
        if self.select == "top":
            marked = place.operations.zeros_like(wanted, dtype=bool)
            marked[chosen] = True
            support = place.places(union_of(marked, network, self.statistics), wanted)
        values = wanted[support]
        average = place.operations.empty_like(values)
        bound = self.form.clip_bound(network.num_workers)
        stream = elementwise(values).sum(
            values,
            average,
            network,
            self.form,
            block_ends=np.array([len(values)]),
            scales=np.array([exponent_scale(bound, exponent)]),
            key=self.key(network),
        )
        self.complete(stream, network, layout)
        mean[:] = 0
        mean[support] = average
        return support, stream.share()

    def by_messages(
        self,
        wanted: Any,
        chosen: Any,
        mean: Any,
        network: Network,
        layout: Layout,
    ) -> Part:
        """The mean, from everybody's message; returns this worker's part.

        A worker with a NaN or an infinity has that alone in its message. Raises
        ValueError, on every worker, for what is no message.

        From a device come the elements of the message, and those of all go there.
        """
        place, first = codewise(wanted), None
        if largest_bits(wanted) >= INFINITY_BITS:
            first = elementwise(wanted).first_non_finite(wanted)
            chosen = place.places(np.array([first]), wanted)
        entries = np.empty(len(chosen), ENTRY)
        entries["index"] = place.here(chosen)
        entries["value"] = place.here(wanted[chosen])
        messages = gather_of(entries.tobytes(), network, self.statistics)
        decoded = [
            entries_of(message, len(wanted), rank)
            for rank, message in enumerate(messages)
        ]
        if not all(np.isfinite(each["value"]).all() for each in decoded):
            raise non_finite_error(first, layout, network.rank, self.step)
        mean[:] = 0
        for each in decoded:
            share = each["value"] / np.float32(network.num_workers)
            mean[place.places(each["index"], mean)] += moved(share, mean)
        return chosen, wanted[chosen]

    def share(self) -> Any:
        if self.part is None:
            raise RuntimeError("share: there has been no average yet")
        indices, values = self.part
        share = codewise(values).zeros(self.elements, values)
        share[indices] = values
        return share

    def keeps_rest(self) -> bool:
        return self.memory is not None

    def state_dict(self) -> dict[str, Any]:
        kept = self.memory.state_dict() if self.memory else {}
        return super().state_dict() | {"memory": kept}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        if self.memory:
            self.memory.load_state_dict(state["memory"])


def entries_of(message: bytes, elements: int, rank: int) -> NDArray[np.void]:
    """[k] records of ENTRY: a worker's message about a vector of so many elements.

    Raises ValueError, which names the worker, for what `by_messages` does not send.
    """
    who = f"the message of worker {rank}"
    if len(message) % ENTRY.itemsize:
        raise ValueError(
            f"{who} has {len(message)} bytes: must be a multiple of {ENTRY.itemsize}"
        )
    entries = np.frombuffer(message, ENTRY)
    indices = entries["index"].astype(np.int64)
    if (np.diff(indices, prepend=-1, append=elements) <= 0).any():
        raise ValueError(
            f"{who} has other indices than ascending ones below {elements}"
        )
    return entries


def check_count(select: str, k: float | None, ratio: float | None) -> None:
    """Raises ValueError for a k or ratio that cannot be."""
    if k is not None and ratio is not None:
        raise ValueError(f"k is {k} and ratio is {ratio}: give one of them")
    if ratio is not None and not 0 < ratio <= 1:
        raise ValueError(f"ratio is {ratio}: must be above 0 and at most 1")
    if k is None:
        return
    if not 0 < k < float("inf"):
        raise ValueError(f"k is {k}: must be above 0 and finite")
    if k < 1 and select == "top":
        raise ValueError(f"k is {k}: below 1 only with select=rand")
    if k > 1 and k != int(k):
        raise ValueError(f"k is {k}: must be a whole number, or below 1")
