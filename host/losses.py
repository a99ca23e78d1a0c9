"""What counts as lost: timers that run out, and answers to packets sent later. Sans-IO.

See `Recovery` for what can be chosen.
"""

from typing import Any

from host.recovery import timeout_after
from host.window import (
    AGAIN,
    ASK,
    NEVER,
    SENT,
    State,
    advance_oldest,
    send_again,
    slot_of,
)
from switch.compiled import kernel

RESENDS = 3  # unanswered timeouts before the switch is asked what the slot holds
REORDERING = 1.25  # round-trip times by which answers may overtake each other


@kernel
def expire(state: State, now: float) -> None:
    """Queue what was sent too long ago, and find the next deadline.

    A packet is lost if one sent after it has been answered and its own answer is
    overdue by that measure (as RACK has it, RFC 8985). Without such evidence, waiting
    for another worker looks like loss: then only the oldest chunk is tried again, after
    a retransmission timeout, and the others are let off. Each one that this repairs
    lets one more be tried at once. Where answers are no evidence, all that times out is
    tried again, as by SwitchML's hosts.
    """
    window = state.window[0]
    window.next_timeout = NEVER
    timers_alone = window.patience == NEVER and window.packet_threshold == 0
    advance_oldest(state)
    for chunk in range(min(window.num_slots, window.num_chunks)):
        at = slot_of(window, chunk)
        slot = state.slots[at]
        if slot.state != SENT:
            continue
        answered_later = has_evidence(window, slot)
        if answered_later:
            slot.deadline = min(slot.deadline, overdue_at(window, slot))
        if slot.deadline <= now:
            tried = slot.chunk <= window.oldest + window.repaired
            if answered_later or timers_alone or tried:
                slot.timeouts += 1
                slot.expired += 0 if answered_later else 1
                slot.silent += 1
                send_again(state, at, AGAIN if slot.timeouts <= RESENDS else ASK)
                if slot.silent > window.silent:
                    window.silent = slot.silent
                window.next_timeout = now
                continue
            slot.excused += 1
            slot.deadline = now + timeout_after(state.estimate, slot.expired)
        window.next_timeout = min(window.next_timeout, slot.deadline)


@kernel
def has_evidence(window: Any, slot: Any) -> bool:
    """Whether a packet that was sent after the slot's has been answered."""
    if slot.sent_at == window.newest_sent_at:
        return bool(slot.chunk < window.newest_chunk)
    return bool(slot.sent_at < window.newest_sent_at)


@kernel
def note_evidence(window: Any, slot: Any) -> None:
    """A packet sent once has been answered: it says something about those before."""
    window.newest_number = max(window.newest_number, slot.number)
    if slot.sent_at > window.newest_sent_at:
        window.newest_sent_at = slot.sent_at
        window.newest_chunk = slot.chunk
    elif slot.sent_at == window.newest_sent_at:
        window.newest_chunk = max(window.newest_chunk, slot.chunk)


@kernel
def is_overtaken(window: Any, slot: Any) -> bool:
    """Whether the packet threshold of RFC 9002, section 6.1.1, calls it lost."""
    ahead = window.newest_number - slot.number
    return bool(0 < window.packet_threshold <= ahead)


@kernel
def overdue_at(window: Any, slot: Any) -> float:
    """When a packet counts as lost, once there is evidence."""
    if is_overtaken(window, slot):
        return float(slot.sent_at)
    patience = max(REORDERING * window.newest_rtt, window.patience)
    return float(slot.sent_at + patience)


@kernel
def look_for_gap(state: State) -> None:
    """Set the timer if the oldest chunk was overtaken; while that one is being
    repaired, if any other was overtaken by enough packets."""
    window = state.window[0]
    advance_oldest(state)
    if window.oldest >= window.num_chunks:
        return
    slot = state.slots[slot_of(window, window.oldest)]
    if slot.state == SENT and has_evidence(window, slot):
        overdue = overdue_at(window, slot)
        window.next_timeout = min(window.next_timeout, overdue)
    if window.packet_threshold > 0 and slot.timeouts > 0:
        for at in range(window.num_slots):
            if state.slots[at].state == SENT and is_overtaken(window, state.slots[at]):
                window.next_timeout = min(window.next_timeout, state.slots[at].sent_at)
                return


@kernel
def note_rtt(window: Any, rtt: float) -> None:
    """A round-trip time whose beginning is known."""
    window.rtt = max(window.rtt, rtt)
    window.shortest_rtt = min(window.shortest_rtt, rtt)


@kernel
def note_repair(window: Any, slot: Any, now: float) -> None:
    """A result is in whose contribution was repeated.

    If it comes sooner than a repeated packet is answered, nothing was lost, only
    overtaken: the network reorders by more than the packet threshold (RFC 9002 leaves
    the raise to the sender; RFC 8985 does as much with its reordering window).
    """
    window.repaired += 1
    if 2.0 * (now - slot.sent_at) < window.shortest_rtt:
        most = max(window.packet_threshold, window.num_slots)
        window.packet_threshold = min(2 * window.packet_threshold, most)
