// Small packets with large results. BMv2 makes room for a packet when it arrives: its
// length and GROWTH bytes more. A result needs more when the packet that causes it is
// an empty contribution, or one whose elements the result widens. Such a packet, before
// it has touched anything, is made longer and sent out of a port that is wired to
// another port of this switch, and comes back as one for which there is room. Twice is
// enough for the largest slot, and slots of 512 bytes never need it.

#ifndef GROW_P4
#define GROW_P4

#include <core.p4>
#include <v1model.p4>
#include "headers.p4"

// How long a frame can be made of this one: what is not parsed keeps its room.
control Room(in headers_t hdr, out bit<16> room) {
    apply {
        room = ETHERNET_BYTES + ((bit<16>) hdr.ipv4.header_words << 2)
            + hdr.udp.length + GROWTH;
        if (hdr.grown0.isValid()) {
            room = room + GROWTH;
        }
        if (hdr.grown1.isValid()) {
            room = room + GROWTH;
        }
    }
}

control Grow(
    inout headers_t hdr, in port_t loop, inout standard_metadata_t standard
) {
    action grow_once() {
        hdr.grown0.setValid();
        hdr.grown0.nothing = 0;
        hdr.grown0.more_of_it = 0;
        hdr.grown0.type = hdr.ethernet.type;
        hdr.ethernet.type = TYPE_GROWN;
    }

    action grow_again() {
        hdr.grown1.setValid();
        hdr.grown1.nothing = 0;
        hdr.grown1.more_of_it = 0;
        hdr.grown1.type = hdr.grown0.type;
        hdr.grown0.type = TYPE_GROWN;
    }

    apply {
        if (hdr.grown0.isValid()) {
            grow_again();
        } else {
            grow_once();
        }
        standard.egress_spec = loop;
    }
}

#endif
