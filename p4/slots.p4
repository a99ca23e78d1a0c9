// The registers, and the decision tables: what one packet does to one slot.
//
// Registers are indexed by `first_version + sequence mod 2 * num_slots` of the job,
// which is (version, slot): each slot of a job is kept in two versions.

#ifndef SLOTS_P4
#define SLOTS_P4

#include <core.p4>
#include <v1model.p4>
#include "headers.p4"
#include "lanes.p4"
#include "codes.p4"
#include "payload.p4"

const sequence_t HALF_OF_SEQUENCES = 0x80000000;

// The verdict of the rule `safe`, whose rows stand here in their order. In the root of a
// tree, and so in a job of one switch, complete is final.
control DecideSafe(
    in aggregation_t packet, in job_t job, in bitmap_t own_bit, in slot_t slot,
    in bool matches, out verdict_t verdict
) {
    bool final = slot.final != 0;
    sequence_t behind = slot.sequence - packet.sequence;

    apply {
        if (packet.opcode == QUERY) {
            verdict = verdict_t.ANSWER;
        } else if (slot.received == 0 && packet.sequence < 2 * job.num_slots) {
            verdict = verdict_t.TAKE_OVER;
        } else if (slot.received == 0) {
            verdict = verdict_t.AHEAD;
        } else if (final && packet.sequence == slot.sequence + 2 * job.num_slots) {
            // A worker sends chunk c + 2S only with the result of c + S in hand, which
            // took everybody's c + S, sent only after the result of c: nobody needs c.
            verdict = verdict_t.TAKE_OVER;
        } else if (behind != 0 && behind <= HALF_OF_SEQUENCES) {
            verdict = verdict_t.STALE;
        } else if (behind != 0) {
            verdict = verdict_t.AHEAD;
        } else if (!matches) {
            verdict = verdict_t.MISMATCH;
        } else if (slot.bitmap & own_bit == 0) {
            verdict = verdict_t.REDUCE;
        } else if (final) {
            verdict = verdict_t.REPLAY;
        } else if (slot.received == job.below) {
            // the contribution upward may have been lost; nobody else would miss it
            verdict = verdict_t.SEND_UP;
        } else {
            verdict = verdict_t.DUPLICATE;
        }
    }
}

// The kind that a slot with this contribution has. A switch below sends what has been
// summed, a worker beside it what is to be: there, both count as the former.
kind_t kind_in_slot(in aggregation_t packet, in job_t job) {
    return job.has_switches == 1 ? reduced_kind(packet.kind) : packet.kind;
}

// The verdict on a result of the parent: is it the one that is waited for?
control DecideResult(
    in aggregation_t packet, in job_t job, in slot_t slot, out verdict_t verdict
) {
    apply {
        bool waits = slot.received == job.below && slot.final == 0
            && packet.worker != 0;
        if (waits && packet.sequence == slot.sequence
            && packet.kind == reduced_kind(slot.kind)
            && packet.recipient == slot.recipient) {
            verdict = verdict_t.FINISH;
        } else {
            verdict = verdict_t.STALE;
        }
    }
}

// The verdict of Algorithm 3 of Sapio et al. (NSDI 2021). No sequence is compared.
// `received` counts 1 to n where the paper counts modulo n.
control DecideSwitchml(
    in aggregation_t packet, in job_t job, in bitmap_t own_bit, in slot_t slot,
    in bool matches, out verdict_t verdict
) {
    bool complete = slot.received == job.below;
    bool has_contributed = slot.bitmap & own_bit != 0;

    apply {
        if (packet.opcode == QUERY) {
            verdict = verdict_t.ANSWER;
        } else if (has_contributed && complete) {
            verdict = verdict_t.REPLAY;
        } else if (has_contributed) {
            verdict = verdict_t.DUPLICATE;
        } else if (slot.received == 0 || complete) {
            verdict = verdict_t.START_AGAIN;
        } else if (!matches) {
            verdict = verdict_t.MISMATCH;
        } else {
            verdict = verdict_t.REDUCE;
        }
    }
}

// The verdict of the job's rule. A contribution can be reduced into what the slot holds
// when it `matches`.
control Decide(
    in aggregation_t packet, in job_t job, in bitmap_t own_bit, in slot_t slot,
    out verdict_t verdict
) {
    DecideResult() decide_result;
    DecideSafe() decide_safe;
    DecideSwitchml() decide_switchml;

    apply {
        bool same_count = slot.element_count == packet.element_count
            || slot.element_count == 0 || packet.element_count == 0;
        bool matches = slot.kind == kind_in_slot(packet, job)
            && slot.recipient == packet.recipient && same_count;
        if (packet.opcode == RESULT) {
            decide_result.apply(packet, job, slot, verdict);
        } else if (job.rule == SAFE) {
            decide_safe.apply(packet, job, own_bit, slot, matches, verdict);
        } else {
            decide_switchml.apply(packet, job, own_bit, slot, matches, verdict);
        }
    }
}

// What an admitted packet does to its slot. `slot` and `values` are left as they are
// after it: what leaves the switch is made of them. `too_short`: it does nothing yet, for there is no
// room for its result (grow.p4).
control ReachSlot(
    in headers_t hdr, in job_t job, in child_t child, in entries_t entries,
    in bit<16> room, inout slot_t slot, inout values_t values,
    out verdict_t verdict, out outcome_t outcome, out bool too_short
) {
    register<epoch_t>(NUM_VERSIONS) epochs;
    register<sequence_t>(NUM_VERSIONS) sequences;
    register<bitmap_t>(NUM_VERSIONS) bitmaps;
    register<bit<16>>(NUM_VERSIONS) received;
    register<bit<16>>(NUM_VERSIONS) finals;
    register<kind_t>(NUM_VERSIONS) kinds;
    register<worker_t>(NUM_VERSIONS) recipients;
    register<element_count_t>(NUM_VERSIONS) element_counts;
    register<exponent_t>(NUM_VERSIONS) exponents;
    register<flags_t>(NUM_VERSIONS) flags;

    Decide() decide;
    Unpack() unpack;
    Widen() widen;
    LookUp() look_up;
    Values() reduce_values;

    aggregation_t packet = hdr.aggregation;
    version_t version =
        job.first_version + (packet.sequence & (2 * job.num_slots - 1));
    epoch_t epoch;
    operation_t operation = operation_t.READ;
    bit<16> bytes;
    bool left_range = false;

    action read_slot() {
        epochs.read(epoch, version);
        sequences.read(slot.sequence, version);
        bitmaps.read(slot.bitmap, version);
        received.read(slot.received, version);
        finals.read(slot.final, version);
        kinds.read(slot.kind, version);
        recipients.read(slot.recipient, version);
        element_counts.read(slot.element_count, version);
        exponents.read(slot.exponent, version);
        flags.read(slot.flags, version);
    }

    action write_slot() {
        epochs.write(version, job.epoch);
        sequences.write(version, slot.sequence);
        bitmaps.write(version, slot.bitmap);
        received.write(version, slot.received);
        finals.write(version, slot.final);
        kinds.write(version, slot.kind);
        recipients.write(version, slot.recipient);
        element_counts.write(version, slot.element_count);
        exponents.write(version, slot.exponent);
        flags.write(version, slot.flags);
    }

    // Begin a chunk; its first contribution joins it separately.
    action begin() {
        slot.sequence = packet.sequence;
        slot.received = 0;
        slot.final = 0;
        slot.kind = kind_in_slot(packet, job);
        slot.recipient = packet.recipient;
        slot.element_count = 0;
        slot.exponent = packet.exponent;
        slot.flags = 0;
    }

    // Count one more contribution; its payload and exponent come separately.
    action join_slot() {
        slot.bitmap = slot.bitmap | child.own_bit;
        slot.received = slot.received + child.stands_for;
        slot.flags = slot.flags | (packet.flags & KEPT_FLAGS);
    }

    // Begin the job's result, in place of what the children came to; its payload comes
    // separately.
    action finish() {
        slot.final = packet.worker;
        slot.element_count = 0;
        slot.exponent = packet.exponent;
        slot.flags = packet.flags & KEPT_FLAGS;
    }

    // `switchml`: whoever contributes has no part in the other version any more.
    action forget_worker() {
        version_t other = job.first_version
            + ((packet.sequence + job.num_slots) & (2 * job.num_slots - 1));
        bitmap_t others_bitmap;
        bitmaps.read(others_bitmap, other);
        bitmaps.write(other, others_bitmap & ~child.own_bit);
    }

    // What is read of a slot must hold until it is written: one packet at a time.
    // (BMv2's own atomicity ends with each action, but it has one thread for ingress.)
    apply {
        @atomic {
            read_slot();
            if (epoch != job.epoch) {
                // of another job, or of this one before its reset: nothing is held
                slot.received = 0;
                slot.final = 0;
                slot.bitmap = 0;
            }
            decide.apply(packet, job, child.own_bit, slot, verdict);

            bool contributes = verdict == verdict_t.TAKE_OVER
                || verdict == verdict_t.START_AGAIN || verdict == verdict_t.REDUCE;
            bool accepted = contributes || verdict == verdict_t.FINISH;
            if (verdict == verdict_t.TAKE_OVER) {
                slot.bitmap = 0;
            }
            if (contributes && verdict != verdict_t.REDUCE) {
                begin();
            }
            if (verdict == verdict_t.FINISH) {
                finish();
            }
            if (contributes) {
                join_slot();
                if (exceeds(packet.exponent, slot.exponent)) {
                    slot.exponent = packet.exponent;
                }
            }
            outcome = outcome_t.NOTHING;
            if (verdict == verdict_t.SEND_UP) {
                outcome = outcome_t.CONTRIBUTION;
            } else if (verdict == verdict_t.REPLAY || verdict == verdict_t.ANSWER) {
                outcome = outcome_t.REPLY;
            } else if (accepted && slot.received == job.below) {
                if (slot.final == 0 && job.parent == NO_PORT) {
                    slot.final = slot.received;
                }
                if (slot.final != 0) {
                    outcome = outcome_t.MULTICAST;
                } else {
                    outcome = outcome_t.CONTRIBUTION;
                }
            }

            if (accepted && packet.element_count != 0) {
                if (slot.element_count == 0) {
                    operation = operation_t.WRITE;
                } else {
                    operation = operation_t.COMBINE;
                }
                slot.element_count = packet.element_count;
            }

            bytes =
                (bit<16>) bytes_of(slot.element_count, result_type_of(slot.kind));
            bool has_values =
                outcome != outcome_t.NOTHING && verdict != verdict_t.ANSWER;
            too_short = has_values && ALL_HEADERS_BYTES + bytes > room;
            if (!too_short) {
                // (codes of eight bits have been looked up before)
                if (operation != operation_t.READ
                    && element_type_of(packet.kind) != CODE8) {
                    unpack.apply(hdr, values);
                    widen.apply(values, packet.kind, packet.element_count);
                    if (element_type_of(packet.kind) == CODE4) {
                        look_up.apply(values, entries, packet.kind, bytes);
                    }
                }
                if (operation != operation_t.READ || has_values) {
                    reduce_values.apply(values, operation, version, bytes, slot.kind,
                        job.overflow, left_range);
                }
                if (left_range) {
                    slot.flags = slot.flags | OVERFLOW;
                }
                if (accepted) {
                    write_slot();
                }
                if (accepted && job.rule == SWITCHML) {
                    forget_worker();
                }
            }
        }
    }
}

#endif
