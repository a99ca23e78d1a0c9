"""A switch that loses packets at its ports, and does nothing else to them."""

from switch.config import FaultConfig, LinkFaults


def losing(inward: float = 0.0, outward: float = 0.0, seed: int = 0) -> FaultConfig:
    """With these probabilities, on every link."""
    return FaultConfig(
        inward=LinkFaults(loss=inward), outward=LinkFaults(loss=outward), seed=seed
    )
