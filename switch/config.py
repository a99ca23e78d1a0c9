"""What a switch and its jobs are made of. Plain data; YAML is read elsewhere."""

from dataclasses import dataclass, field

from switch.protocol import DEFAULT_PORT, Overflow, Rule
from switch.security import Security

Address = tuple[str, int]


def group_of(job: int, port: int) -> Address:
    """The multicast group of a job, of those for local use (RFC 2365, section 6.1)."""
    return f"239.255.{job >> 8}.{job & 0xFF}", port


@dataclass(frozen=True, slots=True, kw_only=True)
class TreePlace:
    """Where a switch is in a tree of switches that serve one job."""

    num_workers: int
    """Of the whole job, 1 to 65535."""

    ranks: tuple[int | tuple[int, ...], ...]
    """What each of the job's `workers` at this switch is: the worker of this rank, or a
    switch that leads to the workers of these ranks."""

    parent: Address | None = None
    """Data address of the switch above; None: this one is the root."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobConfig:
    """A set of workers and what the switch keeps for them."""

    job: int
    """Id in the header, 1 to 65535."""

    workers: tuple[Address, ...]
    """Data address of worker 0, worker 1, ...; numeric IP and UDP port. 1 to 64.
    In a tree: of the switch's children, workers and switches."""

    num_slots: int = 512
    """A power of two. Each slot has registers in two versions."""

    slot_bytes: int = 1024
    """Width of a slot's values: the largest payload of a result, in bytes."""

    overflow: Overflow = Overflow.DETECT

    code4: tuple[int, ...] | None = None
    """What the 16 codes of code4 stand for; see `codes.py`. None: it is not used."""

    code8: tuple[int, ...] | None = None
    """What the 256 codes of code8 stand for."""

    group: Address | None = None
    """IP multicast group that results for every worker go to, in one packet. None: a
    packet to each worker."""

    tree: TreePlace | None = None
    """None: all workers of the job are at this switch."""

    straggler_timeout: float = 0.0
    """Seconds after a chunk's first contribution at which its result goes out without
    the workers that are late; 0: never. In a tree, of this switch: what it has goes to
    the switch above then, which must wait longer."""

    @property
    def num_workers(self) -> int:
        """Of the whole job."""
        return len(self.workers) if self.tree is None else self.tree.num_workers


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkFaults:
    """What one direction of a link does to packets. Probabilities are of a packet."""

    loss: float = 0.0
    """Outside of bursts: the good state of Gilbert and Elliott's channel."""

    burst_enter: float = 0.0
    """Probability that a burst begins: the channel goes from good to bad."""

    burst_leave: float = 1.0
    """Probability that it ends. Bursts last 1 / burst_leave packets on average."""

    burst_loss: float = 1.0
    """Loss within bursts."""

    duplication: float = 0.0

    reordering: float = 0.0
    """Probability that a packet is held back, so that others overtake it."""

    overtaken_by: int = 3
    """Packets of the link that a packet held back lets pass; 0: as many as come."""

    held_for: float = 0.01
    """Seconds that it is held back at most."""

    delay: float = 0.0
    """Seconds, of every packet."""

    corruption: float = 0.0
    """Probability that bits of the UDP datagram, header included, are flipped."""

    flipped_bits: int = 1
    """How many then. UDP's checksum catches one always, and most of two or more."""


PERFECT = LinkFaults()


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkEnd:
    """What a switch does to packets of one link, at its own end of it."""

    inward: LinkFaults = PERFECT
    """To packets to the switch."""

    outward: LinkFaults = PERFECT
    """To packets from the switch, drawn for every copy of a multicast."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultConfig:
    """Faults that a switch injects at its own ports. Seeded; see `faults.py`."""

    inward: LinkFaults = PERFECT
    """Of every link that `links` does not name."""

    outward: LinkFaults = PERFECT
    """The same, in the other direction."""

    links: tuple[tuple[str, LinkEnd], ...] = ()
    """Links by the numeric IP address at their other ends."""

    seed: int = 0

    def end(self, host: str) -> LinkEnd:
        """Of the link that leads to an IP address."""
        rest = LinkEnd(inward=self.inward, outward=self.outward)
        return dict(self.links).get(host, rest)

    def any(self, direction: str) -> bool:
        """Whether any link has faults; `direction` is inward or outward."""
        ends = [self, *(end for _, end in self.links)]
        return any(getattr(end, direction) != PERFECT for end in ends)


@dataclass(frozen=True, slots=True, kw_only=True)
class SwitchConfig:
    """One switch."""

    address: str = "127.0.0.1"
    """Numeric IPv4 or IPv6 address of the UDP data path and the TCP control plane."""

    port: int = DEFAULT_PORT
    """0: any free port."""

    rule: Rule = Rule.SAFE

    num_slots: int = 16384
    """Slots of all jobs together."""

    slot_bytes: int = 1408
    """The widest slot that a job can ask for: what fits an MTU of 1500."""

    faults: FaultConfig = field(default_factory=FaultConfig)

    parent: str = ""
    """HOST:PORT of the control plane of the switch above, in a tree of switches: who
    joins here joins there. Empty: there is none."""

    jobs: tuple[JobConfig, ...] = ()
    """Jobs that exist from the start, without the control plane."""

    security: Security = field(default_factory=Security)
    """Of the control plane."""
