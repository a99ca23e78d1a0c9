"""Error feedback around any compressor: what it did not transmit is added to the next
gradient.

Stich, Cordonnier, Jaggi, "Sparsified SGD with Memory" (NeurIPS 2018), for any
compressor C, as in Karimireddy, Rebjock, Stich, Jaggi, "Error Feedback Fixes SignSGD
and other Gradient Compression Schemes" (ICML 2019). With g_i the gradient and m_i the
memory of worker i, zero at first:

    u_i  = m_i + g_i
    mean = the compressor's estimate of the mean of the u_i
    m_i  = u_i - C(u_i)          C(u_i): the worker's own share of the estimate

The memory stays bounded where C is a contraction: E ||u - C(u)||^2 < ||u||^2. An
unbiased compressor with more variance than that is none, and then the memory and the
means grow from step to step: QSGD, and NUQSGD and QSGDinf with few bits, do so in large
blocks. They need no feedback, being unbiased.

Differences from the papers: m_i is in units of the gradient, and the caller applies the
learning rate to the mean. That is the same while the learning rate is constant; if it
falls, what is remembered is applied at the lower rate, and not at the one of its step
(`memsgd` has an option for that). m_i is float32.
"""

from typing import Any

from host.compressors.base import Compressor, Layout, Network, copy_of
from host.compressors.memory import Memory


class Feedback(Compressor):
    """See the module. State: the memory, and the inner compressor's."""

    def __init__(self, inner: Compressor) -> None:
        """Raises ValueError for a compressor that does not tell its share, or that has
        such a memory itself: two would add the same to every gradient."""
        super().__init__()
        name = type(inner).__name__
        if not inner.tells_share():
            raise ValueError(f"{name} does not tell its share: it has no feedback")
        if inner.keeps_rest():
            raise ValueError(
                f"{name} remembers by itself what it does not send: leave feedback "
                "out, or take memory=false"
            )
        self.inner = inner
        self.devices = inner.devices
        self.statistics = inner.statistics
        self.memory = Memory()

    def estimate(
        self, vector: Any, mean: Any, network: Network, layout: Layout
    ) -> None:
        if len(vector) == 0:
            return
        wanted = copy_of(vector)
        self.memory.add_to(wanted, layout, 1)
        self.inner.take(wanted, mean, network, layout, self.piece)
        self.memory.store(wanted - self.inner.share(), layout)

    def tables(self, num_workers: int) -> dict[str, tuple[int, ...]]:
        return self.inner.tables(num_workers)

    def state_dict(self) -> dict[str, Any]:
        return {
            "inner": self.inner.state_dict(),
            "memory": self.memory.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.inner.load_state_dict(state["inner"])
        self.memory.load_state_dict(state["memory"])
