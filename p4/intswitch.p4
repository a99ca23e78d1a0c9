// A switch that aggregates: workers send integers, it adds them slot by slot, and
// multicasts the sums. It does what the Python switch in switch/ does, byte for byte;
// docs/protocol.md says what that is.

#include <core.p4>
#include <v1model.p4>
#include "sizes.p4"
#include "headers.p4"
#include "parser.p4"
#include "checksum.p4"
#include "admission.p4"
#include "codes8.p4"
#include "slots.p4"
#include "grow.p4"
#include "replicate.p4"
#include "forward.p4"
#include "deparser.p4"

// A packet of this protocol, addressed to the switch. It is counted exactly once.
control Aggregate(
    inout headers_t hdr, inout metadata_t meta, inout standard_metadata_t standard
) {
    counter(NUM_COUNTERS, CounterType.packets) verdicts;
    Admission() admission;
    Damaged() check_damage;
    WellFormed() check_form;
    Fits() check_fit;
    LookUp8() look_up8;
    ReachSlot() reach_slot;
    Room() how_much_room;
    Grow() grow;
    Reply() reply;

    bool from_parent = false;
    bool has_table = false;
    bool damaged;
    bool well_formed;
    bool fits;
    bit<16> room;
    verdict_t verdict;
    outcome_t outcome = outcome_t.NOTHING;
    bool too_short = false;
    bool is_ready = true;

    apply {
        bool from_switch = hdr.aggregation.opcode == RESULT
            || hdr.aggregation.opcode == STATUS;
        check_damage.apply(hdr, standard, damaged);
        if (hdr.aggregation.isValid() && !damaged) {
            admission.apply(hdr, meta.job, meta.child, from_parent, has_table,
                meta.entries);
        }
        check_form.apply(hdr, well_formed);
        check_fit.apply(hdr.aggregation, meta.job, has_table, fits);

        if (damaged) {
            verdict = verdict_t.DAMAGED;
        } else if (!hdr.aggregation.isValid() || !well_formed) {
            verdict = verdict_t.MALFORMED;
        } else if (meta.job.row == 0) {
            verdict = verdict_t.UNKNOWN_JOB;
        } else if (!fits) {
            verdict = verdict_t.MALFORMED;
        } else if (meta.child.own_bit == 0 && !from_parent) {
            verdict = verdict_t.UNKNOWN_SOURCE;
        } else if (from_switch
            && !(from_parent && hdr.aggregation.opcode == RESULT)) {
            // a switch asks nobody, so that no status answers it
            verdict = verdict_t.WRONG_OPCODE;
        } else {
            if (element_type_of(hdr.aggregation.kind) == CODE8
                && hdr.aggregation.opcode == CONTRIBUTE
                && hdr.aggregation.element_count != 0) {
                look_up8.apply(hdr, meta.job, meta.looking_up, meta.values, is_ready);
            }
            if (is_ready) {
                how_much_room.apply(hdr, room);
                reach_slot.apply(hdr, meta.job, meta.child, meta.entries, room,
                    meta.slot, meta.values, verdict, outcome, too_short);
            } else {
                verdict = verdict_t.REDUCE;     // perhaps; it is not counted yet
            }
        }

        bit<32> first_counter = (bit<32>) meta.job.row * COUNTERS_PER_JOB;
        if (!is_ready) {
            resubmit_preserving_field_list(LOOKING_UP);
        } else if (too_short) {
            grow.apply(hdr, meta.job.loop, standard);
        } else {
            verdicts.count(first_counter + (bit<32>) (bit<5>) verdict);
            if (outcome == outcome_t.NOTHING) {
                mark_to_drop(standard);
            } else {
                reply.apply(hdr, meta, standard, verdict, outcome);
            }
            if (outcome == outcome_t.MULTICAST) {
                standard.mcast_grp = meta.job.group;
                verdicts.count(first_counter + (bit<32>) (bit<5>) verdict_t.RESULTS);
            }
        }
    }
}

control SwitchIngress(
    inout headers_t hdr, inout metadata_t meta, inout standard_metadata_t standard
) {
    OwnAddress() own_address;
    AnswerArp() answer_arp;
    AnswerEcho() answer_echo;
    Aggregate() aggregate;
    Forward() forward;

    bool is_own = false;
    bool is_answered = false;

    apply {
        if (hdr.ipv4.isValid()) {
            own_address.apply(hdr, is_own);
        }
        if (hdr.arp.isValid()) {
            answer_arp.apply(hdr, standard, is_answered);
        }
        if (is_own && hdr.udp.isValid() && hdr.udp.destination == SWITCH_PORT) {
            aggregate.apply(hdr, meta, standard);
        } else if (is_own && hdr.icmp.isValid() && hdr.icmp.type == ECHO_REQUEST) {
            answer_echo.apply(hdr, meta, standard);
        } else if (!is_answered) {
            forward.apply(hdr, meta, standard);
        }
    }
}

control SwitchEgress(
    inout headers_t hdr, inout metadata_t meta, inout standard_metadata_t standard
) {
    Replicate() replicate;

    apply {
        if (meta.is_reply) {
            replicate.apply(hdr, meta, standard);
        } else if (meta.is_flooded && standard.egress_port == standard.ingress_port) {
            mark_to_drop(standard);
        }
    }
}

V1Switch(
    SwitchParser(),
    VerifyChecksums(),
    SwitchIngress(),
    SwitchEgress(),
    UpdateChecksums(),
    SwitchDeparser()
) main;
