// Bytes to headers. Knows the format, never a job or a slot.

#ifndef PARSER_P4
#define PARSER_P4

#include <core.p4>
#include <v1model.p4>
#include "headers.p4"

// The UDP length, and not that of the frame, says where a packet ends: Ethernet pads
// short frames. What is longer than five blocks and a tail has its header parsed alone:
// it fits no slot.
#define SHORTEST 8
#define LONGEST_WITHOUT_HEADER 23
#define SHORTEST_WITH_HEADER 24
#define LONGEST_THAT_IS_PARSED 1559     // 24 + 5 * 256 + 255

// One block, unless the rest is a tail.
#define BLOCK(number, next)                                 \
    state block##number {                                   \
        packet.extract(hdr.block##number);                  \
        meta.rest = meta.rest - BLOCK_BYTES;                \
        transition select(meta.rest[15:8]) {                \
            0: tail128;                                     \
            default: next;                                  \
        }                                                   \
    }

// One piece of the tail, where its bit of the length is set.
#define PIECE(bytes, bit, next)                             \
    state tail##bytes {                                     \
        transition select(meta.rest[bit:bit]) {             \
            1: take##bytes;                                 \
            default: next;                                  \
        }                                                   \
    }                                                       \
    state take##bytes {                                     \
        packet.extract(hdr.tail##bytes);                    \
        transition next;                                    \
    }

parser SwitchParser(
    packet_in packet,
    out headers_t hdr,
    inout metadata_t meta,
    inout standard_metadata_t standard
) {
    state start {
        packet.extract(hdr.ethernet);
        transition select(hdr.ethernet.type) {
            TYPE_ARP: arp;
            TYPE_IPV4: ipv4;
            TYPE_GROWN: grown0;
            default: accept;
        }
    }

    state grown0 {
        packet.extract(hdr.grown0);
        transition select(hdr.grown0.type) {
            TYPE_IPV4: ipv4;
            TYPE_GROWN: grown1;
            default: accept;
        }
    }

    state grown1 {
        packet.extract(hdr.grown1);
        transition select(hdr.grown1.type) {
            TYPE_IPV4: ipv4;
            default: accept;
        }
    }

    state arp {
        packet.extract(hdr.arp);
        transition accept;
    }

    state ipv4 {
        packet.extract(hdr.ipv4);
        transition select(hdr.ipv4.version, hdr.ipv4.header_words) {
            (4, 5): above_ipv4;
            (4, 6 .. 15): ipv4_options;
            default: accept;
        }
    }

    state ipv4_options {
        packet.extract(
            hdr.ipv4_options, (bit<32>) (hdr.ipv4.header_words - 5) << 5
        );
        transition above_ipv4;
    }

    // A fragment is none of the switch's business: it cannot put it together.
    state above_ipv4 {
        transition select(
            hdr.ipv4.flags[0:0], hdr.ipv4.fragment_offset, hdr.ipv4.protocol
        ) {
            (0, 0, PROTOCOL_UDP): udp;
            (0, 0, PROTOCOL_ICMP): icmp;
            default: accept;
        }
    }

    state icmp {
        packet.extract(hdr.icmp);
        transition accept;
    }

    state udp {
        packet.extract(hdr.udp);
        meta.rest = hdr.udp.length - UDP_BYTES;
        transition select(hdr.udp.destination, hdr.udp.length) {
            (SWITCH_PORT, SHORTEST .. LONGEST_WITHOUT_HEADER): short_payload;
            (SWITCH_PORT, SHORTEST_WITH_HEADER .. LONGEST_THAT_IS_PARSED): aggregation;
            (SWITCH_PORT, 0 .. 7): accept;         // shorter than its own header
            (SWITCH_PORT, _): long_aggregation;
            default: accept;
        }
    }

    state short_payload {
        meta.udp_is_whole = true;
        transition tail128;
    }

    state long_aggregation {
        packet.extract(hdr.aggregation);
        transition accept;
    }

    state aggregation {
        packet.extract(hdr.aggregation);
        meta.udp_is_whole = true;
        meta.rest = meta.rest - HEADER_BYTES;
        transition select(meta.rest[15:8]) {
            0: tail128;
            default: block0;
        }
    }

    BLOCK(0, block1)
    BLOCK(1, block2)
    BLOCK(2, block3)
    BLOCK(3, block4)
    BLOCK(4, tail128)

    PIECE(128, 7, tail64)
    PIECE(64, 6, tail32)
    PIECE(32, 5, tail16)
    PIECE(16, 4, tail8)
    PIECE(8, 3, tail4)
    PIECE(4, 2, tail2)
    PIECE(2, 1, tail1)
    PIECE(1, 0, accept)
}

#endif
