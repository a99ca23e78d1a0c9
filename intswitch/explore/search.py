"""All that a network can do to parties that send each other packets.

A packet once sent can be delivered at any time, any number of times, or never: the
network is the set of all packets ever sent, which only grows. So what leaves a party's
state as it is need not be tried at different times: its replies are added at once, and
of two situations that differ in the set alone the one with more packets is enough.
What a worker may send again, it has sent from the beginning. Every state that parties
can reach is reached all the same.

The other question is whether they get through. From every situation the network may
lose all that is in it and be good from then on: then what the workers send again must
bring them to their end.
"""

from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from intswitch.explore.shapes import Packet, Party, Step

Situation = tuple[int, ...]
"""Each party's state, by number."""
State = tuple[Situation, int]
"""A situation, and the set of packets in the network."""


class Event(NamedTuple):
    """One delivery of a history."""

    packet: Packet
    did: str
    sent: tuple[Packet, ...]


class Finding(NamedTuple):
    """What must not happen, and the shortest way there."""

    what: str
    history: tuple[Event, ...]
    names: tuple[str, ...]
    """Of the parties, by place."""


class Outcome(NamedTuple):
    situations: int
    """Different states of all parties together."""
    states: int
    """Situations, each with a set of packets in the network, that were gone on from."""
    deliveries: int
    """Tried from them, those that change nothing left out."""
    wrong: Finding | None
    """A wrong sum. The search ends there."""
    stuck: Finding | None
    """A situation from which nobody comes to the end."""
    exhausted: bool
    """Everything was tried."""


class Local:
    """One state of one party, and what the packets tried on it do."""

    def __init__(self) -> None:
        self.tried = 0
        """Set of packets, as all sets of them here: bit p for packet p."""
        self.moves: list[tuple[int, int, int]] = []
        """Packet, next state, packets sent: where the state changes, or must not."""
        self.wrong: dict[int, str] = {}
        """Packet -> what is wrong with what it does."""
        self.replies: list[tuple[int, int]] = []
        """Packet, packets sent: where it does not."""


def bits(mask: int) -> Iterator[int]:
    while mask:
        lowest = mask & -mask
        yield lowest.bit_length() - 1
        mask ^= lowest


def with_state(situation: Situation, place: int, state: int) -> Situation:
    return *situation[:place], state, *situation[place + 1 :]


class Search:
    """See the module."""

    def __init__(self, parties: list[Party]) -> None:
        self.parties = parties
        self.packets: list[Packet] = []
        self.number_of: dict[Packet, int] = {}
        self.states: list[list[bytes]] = [[] for _ in parties]
        self.numbers: list[dict[bytes, int]] = [{} for _ in parties]
        self.locals: list[list[Local]] = [[] for _ in parties]
        self.addressed = [0 for _ in parties]
        """Of each party, the packets to it."""
        self.contradicted: list[int] = []
        """Of each packet, those that tell otherwise; see `Party.claim`."""
        self.claims: dict[Any, list[tuple[int, Any]]] = {}
        self.ends: set[Situation] = set()
        """From where a good network brings everybody to the end."""

    def state_number(self, place: int, state: bytes) -> int:
        known = self.numbers[place]
        if state not in known:
            known[state] = len(known)
            self.states[place].append(state)
            self.locals[place].append(Local())
        return known[state]

    def packet_set(self, packets: tuple[Packet, ...]) -> int:
        mask = 0
        for packet in packets:
            if packet not in self.number_of:
                self.number_of[packet] = len(self.packets)
                self.addressed[packet.destination] |= 1 << len(self.packets)
                self.packets.append(packet)
                self.contradicted.append(0)
                self.note_claim(packet)
            mask |= 1 << self.number_of[packet]
        return mask

    def note_claim(self, packet: Packet) -> None:
        """Find the packets so far that tell otherwise."""
        claim = self.parties[packet.destination].claim(packet)
        if claim is None:
            return
        (what, told), number = claim, self.number_of[packet]
        others = self.claims.setdefault(what, [])
        for other, tells in others:
            if tells != told:
                self.contradicted[number] |= 1 << other
                self.contradicted[other] |= 1 << number
        others.append((number, told))

    def contradiction(self, network: int, before: int) -> str | None:
        """Whether two packets in the network tell different things, one of them new."""
        for number in bits(network & ~before):
            others = self.contradicted[number] & network
            if others:
                return "two results of one chunk differ"
        return None

    def step(self, place: int, state: int, packet: int) -> Step:
        party = self.parties[place]
        return party.take(self.states[place][state], self.packets[packet])

    def learn(self, place: int, state: int, network: int) -> Local:
        """Try on a party's state the packets to it that have not been tried."""
        local = self.locals[place][state]
        new = network & self.addressed[place] & ~local.tried
        local.tried |= new
        for packet in bits(new):
            step = self.step(place, state, packet)
            sent = self.packet_set(step.sent + step.later)
            after = self.state_number(place, step.state)
            if step.wrong:
                local.wrong[packet] = step.wrong
            if after != state or step.wrong:
                local.moves.append((packet, after, sent))
            elif sent:
                local.replies.append((packet, sent))
        return local

    def close(self, situation: Situation, network: int) -> int:
        """The network with all replies that change nobody's state."""
        before = -1
        while before != network:
            before = network
            for place, state in enumerate(situation):
                for packet, sent in self.learn(place, state, network).replies:
                    if network >> packet & 1:
                        network |= sent
        return network

    def moves(
        self, situation: Situation, network: int
    ) -> Iterator[tuple[int, Situation, int]]:
        """Each delivery that changes something: packet, situation, network."""
        for place, state in enumerate(situation):
            for packet, after, sent in self.locals[place][state].moves:
                if network >> packet & 1:
                    there = with_state(situation, place, after)
                    yield packet, there, network | sent

    def wrong(self, situation: Situation, packet: int) -> str | None:
        """What is wrong with what a packet does there."""
        place = self.packets[packet].destination
        what = self.locals[place][situation[place]].wrong.get(packet)
        return f"{self.parties[place].name} {what}" if what else None

    def finding(self, what: str, path: list[tuple[Situation, int]]) -> Finding:
        events = []
        for situation, number in path:
            packet = self.packets[number]
            step = self.step(packet.destination, situation[packet.destination], number)
            events.append(Event(packet, step.did, step.sent))
        return Finding(what, tuple(events), tuple(each.name for each in self.parties))

    def start(self) -> State:
        steps = [party.start() for party in self.parties]
        network = 0
        for step in steps:
            network |= self.packet_set(step.sent + step.later)
        numbers = [self.state_number(at, step.state) for at, step in enumerate(steps)]
        return tuple(numbers), network

    def is_over(self, situation: Situation) -> bool:
        return all(
            party.finished(self.states[place][state])
            for place, (party, state) in enumerate(
                zip(self.parties, situation, strict=True)
            )
        )

    def gets_through(self, situation: Situation) -> bool:
        """Whether a network that has lost everything, and is good from now on, brings
        everybody to the end."""
        passed = []
        while situation not in self.ends:
            passed.append(situation)
            if self.is_over(situation):
                break
            before = situation
            for place, party in enumerate(self.parties):
                state = self.states[place][situation[place]]
                situation = self.deliver(situation, party.again(state))
            if situation == before:
                return False
        self.ends.update(passed)
        return True

    def deliver(self, situation: Situation, packets: tuple[Packet, ...]) -> Situation:
        """Packets, and what follows from them, in order; nothing is lost.

        What has changed nothing once, as a worker's endless questions, is not repeated.
        """
        left = deque(packets)
        vain: set[tuple[Packet, Situation]] = set()
        while left:
            packet = left.popleft()
            if (packet, situation) in vain:
                continue
            vain.add((packet, situation))
            place = packet.destination
            self.packet_set((packet,))
            step = self.step(place, situation[place], self.number_of[packet])
            after = self.state_number(place, step.state)
            situation = with_state(situation, place, after)
            left.extend(step.sent)
        return situation


class Frontier:
    """Situations still to be left, nearest first, and how each was reached."""

    def __init__(self, situation: Situation, network: int) -> None:
        self.seen: dict[Situation, list[int]] = {situation: [network]}
        """The largest networks known with each."""
        self.left = deque([(situation, network)])
        self.come_from: dict[State, tuple[State, int]] = {}

    def add(self, there: State, here: State, by: int) -> None:
        """Unless the same situation is known with all those packets."""
        situation, network = there
        known = self.seen.setdefault(situation, [])
        if any(network & ~mask == 0 for mask in known):
            return
        self.seen[situation] = [mask for mask in known if mask & ~network] + [network]
        self.come_from[there] = here, by
        self.left.append(there)

    def next(self) -> State:
        return self.left.popleft()

    def is_best(self, situation: Situation, network: int) -> bool:
        """Whether no larger network has come since."""
        return network in self.seen[situation]

    def path(self, at: State) -> list[tuple[Situation, int]]:
        """Situations left, each with the packet that was delivered."""
        back = []
        while at in self.come_from:
            at, packet = self.come_from[at]
            back.append((at[0], packet))
        return back[::-1]


def explore(
    parties: list[Party],
    most_states: int = 1_000_000,
    progress: Callable[[int], None] = lambda states: None,
) -> Outcome:
    """Try everything, nearest first, until a sum is wrong or `most_states` states are
    gone through; `progress` is told their number now and then."""
    search = Search(parties)
    situation, network = search.start()
    frontier = Frontier(situation, search.close(situation, network))
    states = deliveries = 0
    wrong = stuck = None
    while frontier.left and states < most_states and wrong is None:
        here = situation, network = frontier.next()
        if not frontier.is_best(situation, network):
            continue
        states += 1
        if stuck is None and not search.gets_through(situation):
            stuck = search.finding(
                "nobody can go on, whatever is sent again", frontier.path(here)
            )
        for packet, there, with_sent in search.moves(situation, network):
            deliveries += 1
            closed = search.close(there, with_sent)
            what = search.wrong(situation, packet) or search.contradiction(
                closed, network
            )
            if what:
                path = [*frontier.path(here), (situation, packet)]
                wrong = search.finding(what, path)
                break
            frontier.add((there, closed), here, packet)
        if states % 1000 == 0:
            progress(states)
    everything = not frontier.left and wrong is None
    return Outcome(len(frontier.seen), states, deliveries, wrong, stuck, everything)
