// Packets out: make a result or a status of the packet that caused it, and address a
// copy to each receiver.

#ifndef REPLICATE_P4
#define REPLICATE_P4

#include <core.p4>
#include <v1model.p4>
#include "headers.p4"
#include "payload.p4"
#include "slots.p4"
#include "checksum.p4"

// Ingress: the packet becomes the reply, payload included, addressed to its sender.
control Reply(
    inout headers_t hdr, inout metadata_t meta, inout standard_metadata_t standard,
    in verdict_t verdict, in outcome_t outcome
) {
    Pack() pack;
    bit<16> bytes;
    mac_t mac;
    ipv4_t address;
    udp_port_t port;

    action turn_around() {
        mac = hdr.ethernet.source;
        hdr.ethernet.source = hdr.ethernet.destination;
        hdr.ethernet.destination = mac;
        address = hdr.ipv4.source;
        hdr.ipv4.source = hdr.ipv4.destination;
        hdr.ipv4.destination = address;
        port = hdr.udp.source;
        hdr.udp.source = hdr.udp.destination;
        hdr.udp.destination = port;
        meta.receiver = meta.child.number;
        meta.toward = meta.slot.recipient;
        meta.is_reply = true;
        standard.egress_spec = meta.child.port;
    }

    // It has the sequence of the packet that caused it, which differs from the one held
    // under the rule `switchml` alone.
    action make_result() {
        hdr.aggregation.opcode = RESULT;
        hdr.aggregation.kind = meta.slot.kind;
        hdr.aggregation.worker = meta.slot.final;
        hdr.aggregation.recipient = meta.slot.recipient;
        hdr.aggregation.element_count = meta.slot.element_count;
        hdr.aggregation.exponent = meta.slot.exponent;
        hdr.aggregation.flags = meta.slot.flags;
    }

    // Of a result: what the children came to is one contribution to the parent.
    action make_contribution() {
        hdr.aggregation.opcode = CONTRIBUTE;
        hdr.aggregation.kind = reduced_kind(meta.slot.kind);
        hdr.aggregation.worker = meta.slot.received;
        meta.receiver = PARENT;
        meta.toward = EVERY_WORKER;
        standard.egress_spec = meta.job.parent;
    }

    action make_status() {
        hdr.aggregation.opcode = STATUS;
        hdr.aggregation.kind = 0;
        hdr.aggregation.worker = meta.slot.received;
        hdr.aggregation.recipient = EVERY_WORKER;
        hdr.aggregation.element_count = STATUS_BYTES;
        hdr.aggregation.exponent = NO_EXPONENT;
        hdr.aggregation.flags = 0;
        meta.toward = EVERY_WORKER;
        meta.values.block0 = meta.slot.bitmap ++ 1984w0;
    }

    action to_child(worker_t child) {
        meta.toward = child;
    }

    // In a tree: the child that leads to a recipient, by its rank in the whole job.
    table ranks {
        key = {
            hdr.aggregation.job: exact @name("job");
            meta.slot.recipient: exact @name("rank");
        }
        actions = { to_child; @defaultonly NoAction; }
        const default_action = NoAction();
        size = NUM_RANKS;
    }

    apply {
        turn_around();
        if (verdict == verdict_t.ANSWER) {
            make_status();
            if (meta.slot.received != 0) {
                hdr.aggregation.sequence = meta.slot.sequence;
            }
        } else {
            make_result();
            if (meta.slot.recipient != EVERY_WORKER) {
                if (!ranks.apply().hit && meta.job.below != meta.job.num_workers) {
                    meta.toward = NOBODY;
                }
            }
            if (outcome == outcome_t.CONTRIBUTION) {
                make_contribution();
            }
            if (verdict == verdict_t.REPLAY || verdict == verdict_t.SEND_UP) {
                hdr.aggregation.flags = hdr.aggregation.flags | REPEATED;
            }
        }
        bytes = (bit<16>) bytes_of(
            hdr.aggregation.element_count, result_type_of(hdr.aggregation.kind)
        );
        pack.apply(hdr, meta.values, bytes);
    }
}

// Egress: each copy gets its receiver's addresses, lengths and checksums.
control Replicate(
    inout headers_t hdr, inout metadata_t meta, inout standard_metadata_t standard
) {
    counter(NUM_COUNTERS, CounterType.packets) copies;
    Strip() strip;
    UdpChecksum() udp_checksum;
    bit<16> bytes;

    action address(mac_t mac, ipv4_t ipv4, udp_port_t port) {
        hdr.ethernet.destination = mac;
        hdr.ipv4.destination = ipv4;
        hdr.udp.destination = port;
    }

    action nowhere() {
        mark_to_drop(standard);
    }

    // Filled by the control plane, as are the multicast groups: a copy's instance
    // number is the number of the child that it goes to.
    table receivers {
        key = {
            meta.job.group: exact @name("group");
            meta.receiver: exact @name("receiver");
        }
        actions = { address; @defaultonly nowhere; }
        const default_action = nowhere();
        size = NUM_BINDINGS;
    }

    // Of the packet that came in, the padding is left behind the payload: cut it off.
    action set_lengths() {
        hdr.grown0.setInvalid();
        hdr.grown1.setInvalid();
        hdr.ethernet.type = TYPE_IPV4;
        hdr.udp.length = UDP_BYTES + HEADER_BYTES + bytes;
        hdr.ipv4_options.setInvalid();
        hdr.ipv4.header_words = 5;
        hdr.ipv4.service = 0;
        hdr.ipv4.total_length = IPV4_BYTES + hdr.udp.length;
        hdr.ipv4.identification = 0;
        hdr.ipv4.flags = 2;                 // not to be fragmented
        hdr.ipv4.fragment_offset = 0;
        hdr.ipv4.time_to_live = 64;
        truncate((bit<32>) (ETHERNET_BYTES + hdr.ipv4.total_length));
    }

    apply {
        if (standard.mcast_grp != 0) {
            meta.receiver = standard.egress_rid;
        }
        if (standard.mcast_grp != 0 || meta.receiver == PARENT) {
            receivers.apply();
        }
        if (meta.toward != EVERY_WORKER && meta.toward != meta.receiver) {
            hdr.aggregation.element_count = 0;
            strip.apply(hdr);
        }
        bytes = (bit<16>) bytes_of(
            hdr.aggregation.element_count, result_type_of(hdr.aggregation.kind)
        );
        set_lengths();
        udp_checksum.apply(hdr);
        copies.count((bit<32>) meta.job.row * COUNTERS_PER_JOB
            + (bit<32>) (bit<5>) verdict_t.COPIES);
    }
}

#endif
