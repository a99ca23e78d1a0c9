// What is not for the switch passes through it: a learning-free Ethernet switch and an
// IPv4 router, which answer for the switch's own addresses.

#ifndef FORWARD_P4
#define FORWARD_P4

#include <core.p4>
#include <v1model.p4>
#include "headers.p4"

const bit<16> ARP_REQUEST = 1;
const bit<16> ARP_REPLY = 2;
const bit<8> ECHO_REQUEST = 8;
const bit<8> ECHO_REPLY = 0;

// Whether a packet is for the switch itself: its MAC and its IPv4 address.
control OwnAddress(in headers_t hdr, out bool is_own) {
    action own() {
        is_own = true;
    }

    action other() {
        is_own = false;
    }

    table own_addresses {
        key = {
            hdr.ethernet.destination: exact @name("mac");
            hdr.ipv4.destination: exact @name("address");
        }
        actions = { own; @defaultonly other; }
        const default_action = other();
        size = NUM_HOSTS;
    }

    apply {
        own_addresses.apply();
    }
}

// Answers for the switch's addresses; other requests go on.
control AnswerArp(
    inout headers_t hdr, inout standard_metadata_t standard, out bool is_answered
) {
    action answer(mac_t mac) {
        ipv4_t address = hdr.arp.target;
        hdr.arp.operation = ARP_REPLY;
        hdr.arp.target_mac = hdr.arp.sender_mac;
        hdr.arp.target = hdr.arp.sender;
        hdr.arp.sender_mac = mac;
        hdr.arp.sender = address;
        hdr.ethernet.destination = hdr.ethernet.source;
        hdr.ethernet.source = mac;
        standard.egress_spec = standard.ingress_port;
        is_answered = true;
    }

    action pass() {
        is_answered = false;
    }

    table arp_answers {
        key = {
            hdr.arp.operation: exact @name("operation");
            hdr.arp.target: exact @name("address");
        }
        actions = { answer; @defaultonly pass; }
        const default_action = pass();
        size = NUM_HOSTS;
    }

    apply {
        arp_answers.apply();
    }
}

// A ping of the switch itself.
control AnswerEcho(inout headers_t hdr, inout metadata_t meta,
    inout standard_metadata_t standard
) {
    apply {
        mac_t mac = hdr.ethernet.source;
        hdr.ethernet.source = hdr.ethernet.destination;
        hdr.ethernet.destination = mac;
        ipv4_t address = hdr.ipv4.source;
        hdr.ipv4.source = hdr.ipv4.destination;
        hdr.ipv4.destination = address;
        hdr.icmp.type = ECHO_REPLY;
        // RFC 1624: type 8 became 0, so the sum of all words is 0x0800 less
        bit<32> sum = (bit<32>) hdr.icmp.checksum + 0x0800;
        hdr.icmp.checksum = sum[15:0] + sum[31:16];
        standard.egress_spec = standard.ingress_port;
    }
}

control Forward(
    inout headers_t hdr, inout metadata_t meta, inout standard_metadata_t standard
) {
    action drop() {
        mark_to_drop(standard);
    }

    action to_port(port_t port) {
        standard.egress_spec = port;
    }

    // To all ports of a group; egress drops the copy to the port that it came from.
    action flood(group_t group) {
        standard.mcast_grp = group;
        meta.is_flooded = true;
    }

    table stations {
        key = {
            hdr.ethernet.destination: exact @name("mac");
        }
        actions = { to_port; flood; drop; }
        default_action = drop();
        size = NUM_HOSTS;
    }

    action to_hop(port_t port, mac_t own, mac_t next) {
        standard.egress_spec = port;
        hdr.ethernet.source = own;
        hdr.ethernet.destination = next;
        hdr.ipv4.time_to_live = hdr.ipv4.time_to_live - 1;
        meta.is_routed = true;
    }

    table routes {
        key = {
            hdr.ipv4.destination: lpm @name("address");
        }
        actions = { to_hop; drop; }
        default_action = drop();
        size = NUM_HOSTS;
    }

    // The MAC addresses at which the switch is a router.
    table routers {
        key = {
            hdr.ethernet.destination: exact @name("mac");
        }
        actions = { NoAction; }
        const default_action = NoAction();
        size = NUM_HOSTS;
    }

    apply {
        if (!routers.apply().hit) {
            stations.apply();
        } else if (hdr.ipv4.isValid() && hdr.ipv4.time_to_live > 1
            && standard.checksum_error == 0) {
            routes.apply();
        } else {
            drop();
        }
    }
}

#endif
