// The checks that come before any slot, and the tables that they need.

#ifndef ADMISSION_P4
#define ADMISSION_P4

#include <core.p4>
#include "headers.p4"

// All of the malformed checks that need no job.
control WellFormed(in headers_t hdr, out bool well_formed) {
    kind_t kind = hdr.aggregation.kind;
    bit<3> payload_type;

    apply {
        if (hdr.aggregation.opcode == RESULT || hdr.aggregation.opcode == STATUS) {
            payload_type = result_type_of(kind);
        } else {
            payload_type = element_type_of(kind);
        }
        well_formed = hdr.aggregation.format == FORMAT
            && hdr.aggregation.opcode <= STATUS
            && result_type_of(kind) <= INT32
            && (is_code(kind) && reduction_of(kind) == SUM
                || element_type_of(kind) <= result_type_of(kind)
                    && reduction_of(kind) <= OR)
            && (element_type_of(kind) != CODE4
                || hdr.aggregation.element_count[0:0] == 0)
            && (bit<32>) hdr.udp.length == (bit<32>) (UDP_BYTES + HEADER_BYTES)
                + bytes_of(hdr.aggregation.element_count, payload_type);
    }
}

// The malformed checks that need the job.
control Fits(in aggregation_t packet, in job_t job, in bool has_table, out bool fits) {
    apply {
        fits = (!is_code(packet.kind) || has_table)
            && (packet.recipient == EVERY_WORKER || packet.recipient < job.num_workers)
            && bytes_of(packet.element_count, result_type_of(packet.kind))
                <= (bit<32>) job.slot_bytes;
    }
}

// Whose packet it is: which job, and whether it comes from the child that it names, or
// from the switch above; and what its codes stand for. The tables are filled by the
// control plane. `has_table`: codes can be looked up and summed in this result type.
control Admission(
    in headers_t hdr, inout job_t job, inout child_t child, out bool from_parent,
    out bool has_table, inout entries_t entries
) {
    bit<3> result_type;

    // first_version: 2 * the first of the job's slots. epoch: another number for each
    // installation and each reset of a job; what a slot holds of another epoch is void.
    // loop: where packets go to grow (grow.p4). narrowest8: the result types from this
    // one on hold any sum of what the job's codes of eight bits stand for.
    action set_job(
        row_t row, version_t first_version, bit<32> num_slots, bit<16> slot_bytes,
        bit<16> num_workers, bit<16> below, bit<2> overflow, bit<1> rule, group_t group,
        epoch_t epoch, port_t loop, bit<3> narrowest8, port_t parent,
        bit<1> has_switches
    ) {
        job.row = row;
        job.first_version = first_version;
        job.num_slots = num_slots;
        job.slot_bytes = slot_bytes;
        job.num_workers = num_workers;
        job.below = below;
        job.overflow = overflow;
        job.rule = rule;
        job.group = group;
        job.epoch = epoch;
        job.loop = loop;
        job.narrowest8 = narrowest8;
        job.parent = parent;
        job.has_switches = has_switches;
    }

    action unknown_job() {
        job.row = 0;
    }

    table jobs {
        key = {
            hdr.aggregation.job: exact @name("job");
        }
        actions = { set_job; @defaultonly unknown_job; }
        const default_action = unknown_job();
        size = NUM_JOBS;
    }

    action set_child(
        worker_t number, bitmap_t own_bit, bit<16> stands_for, port_t port
    ) {
        child.number = number;
        child.own_bit = own_bit;
        child.stands_for = stands_for;
        child.port = port;
    }

    action unknown_source() {
        child.own_bit = 0;
    }

    // A worker says its rank, a switch how many workers it stands for.
    table children {
        key = {
            hdr.aggregation.job: exact @name("job");
            hdr.aggregation.worker: exact @name("worker");
            hdr.ipv4.source: exact @name("address");
            hdr.udp.source: exact @name("port");
        }
        actions = { set_child; @defaultonly unknown_source; }
        const default_action = unknown_source();
        size = NUM_BINDINGS;
    }

    table parents {
        key = {
            hdr.aggregation.job: exact @name("job");
            hdr.ipv4.source: exact @name("address");
            hdr.udp.source: exact @name("port");
        }
        actions = { NoAction; }
        const default_action = NoAction();
        size = NUM_JOBS;
    }

    // Entries of the code table, each in every lane of a block.
    action set_codes(
        block_t entry0, block_t entry1, block_t entry2, block_t entry3,
        block_t entry4, block_t entry5, block_t entry6, block_t entry7,
        block_t entry8, block_t entry9, block_t entry10, block_t entry11,
        block_t entry12, block_t entry13, block_t entry14, block_t entry15
    ) {
        entries.even0 = entry0;
        entries.change0 = entry0 ^ entry1;
        entries.even1 = entry2;
        entries.change1 = entry2 ^ entry3;
        entries.even2 = entry4;
        entries.change2 = entry4 ^ entry5;
        entries.even3 = entry6;
        entries.change3 = entry6 ^ entry7;
        entries.even4 = entry8;
        entries.change4 = entry8 ^ entry9;
        entries.even5 = entry10;
        entries.change5 = entry10 ^ entry11;
        entries.even6 = entry12;
        entries.change6 = entry12 ^ entry13;
        entries.even7 = entry14;
        entries.change7 = entry14 ^ entry15;
    }

    // There is an entry for each result type that no sum of the job's can leave.
    table codes {
        key = {
            hdr.aggregation.job: exact @name("job");
            result_type: exact @name("result_type");
        }
        actions = { set_codes; @defaultonly NoAction; }
        const default_action = NoAction();
        size = NUM_JOBS * 3;
    }

    apply {
        jobs.apply();
        children.apply();
        from_parent = false;
        if (hdr.aggregation.opcode == RESULT || hdr.aggregation.opcode == STATUS) {
            from_parent = parents.apply().hit;
        }
        has_table = false;
        result_type = result_type_of(hdr.aggregation.kind);
        if (element_type_of(hdr.aggregation.kind) == CODE4) {
            has_table = codes.apply().hit;
        } else if (element_type_of(hdr.aggregation.kind) == CODE8) {
            has_table = result_type >= job.narrowest8;
        }
    }
}

#endif
