// Headers, and what travels with a packet through the pipeline.

#ifndef HEADERS_P4
#define HEADERS_P4

#include "sizes.p4"
#include "protocol.p4"

typedef bit<9>  port_t;
typedef bit<48> mac_t;
typedef bit<32> ipv4_t;
typedef bit<16> udp_port_t;
typedef bit<16> group_t;        // multicast group
typedef bit<16> row_t;          // of a job in the counters; 0: no known job
typedef bit<32> epoch_t;
typedef bit<32> version_t;      // index of a version of a slot: into the registers
typedef bit<2048> block_t;

const port_t NO_PORT = 511;
const worker_t PARENT = 0xFFFF;         // among the receivers of a job's packets
const worker_t NOBODY = 0xFFFE;

const bit<16> TYPE_IPV4 = 0x0800;
const bit<16> TYPE_ARP = 0x0806;
const bit<16> TYPE_GROWN = 0x88B5;      // for local experiments (IEEE 802)
const bit<8> PROTOCOL_ICMP = 1;
const bit<8> PROTOCOL_UDP = 17;

header ethernet_t {
    mac_t   destination;
    mac_t   source;
    bit<16> type;
}

// Nothing: it makes a packet GROWTH bytes longer on its way through the loop (grow.p4).
header grown_t {
    bit<2048> nothing;
    bit<2032> more_of_it;
    bit<16>   type;         // of what follows, as in Ethernet
}

header arp_t {
    bit<16> hardware_type;
    bit<16> protocol_type;
    bit<8>  hardware_length;
    bit<8>  protocol_length;
    bit<16> operation;
    mac_t   sender_mac;
    ipv4_t  sender;
    mac_t   target_mac;
    ipv4_t  target;
}

header ipv4_header_t {
    bit<4>  version;
    bit<4>  header_words;
    bit<8>  service;
    bit<16> total_length;
    bit<16> identification;
    bit<3>  flags;
    bit<13> fragment_offset;
    bit<8>  time_to_live;
    bit<8>  protocol;
    bit<16> checksum;
    ipv4_t  source;
    ipv4_t  destination;
}

header ipv4_options_t {
    varbit<320> options;
}

header icmp_t {
    bit<8>  type;
    bit<8>  code;
    bit<16> checksum;
}

header udp_t {
    udp_port_t source;
    udp_port_t destination;
    bit<16>    length;
    bit<16>    checksum;
}

// A payload is whole blocks and a tail of up to 255 bytes, which is parsed in pieces: a
// piece of 128 bytes where bit 7 of its length is set, then one of 64 where bit 6 is,
// and so on. So every length is parsed by fixed headers, whose values P4 can add.
header payload_t { block_t   value; }
header tail128_t { bit<1024> value; }
header tail64_t  { bit<512>  value; }
header tail32_t  { bit<256>  value; }
header tail16_t  { bit<128>  value; }
header tail8_t   { bit<64>   value; }
header tail4_t   { bit<32>   value; }
header tail2_t   { bit<16>   value; }
header tail1_t   { bit<8>    value; }

struct headers_t {
    ethernet_t     ethernet;
    grown_t        grown0;
    grown_t        grown1;
    arp_t          arp;
    ipv4_header_t  ipv4;
    ipv4_options_t ipv4_options;
    icmp_t         icmp;
    udp_t          udp;
    aggregation_t  aggregation;
    payload_t      block0;
    payload_t      block1;
    payload_t      block2;
    payload_t      block3;
    payload_t      block4;
    tail128_t      tail128;
    tail64_t       tail64;
    tail32_t       tail32;
    tail16_t       tail16;
    tail8_t        tail8;
    tail4_t        tail4;
    tail2_t        tail2;
    tail1_t        tail1;
}

const bit<8> LOOKING_UP = 1;            // number of a list of metadata fields

// The payload of a packet, or the values of a slot: elements from the highest bits of
// block 0 on, zeros behind the last.
struct values_t {
    @field_list(LOOKING_UP) block_t block0;
    @field_list(LOOKING_UP) block_t block1;
    @field_list(LOOKING_UP) block_t block2;
    @field_list(LOOKING_UP) block_t block3;
    @field_list(LOOKING_UP) block_t block4;
}

// How far the codes of a packet have been looked up (codes8.p4): what a resubmitted
// packet brings with it, beside its values.
struct looking_up_t {
    @field_list(LOOKING_UP) bit<4> parts;       // of the table, taken to the register
    @field_list(LOOKING_UP) bool   is_unpacked; // payload into values
    @field_list(LOOKING_UP) bit<3> left;        // blocks of codes before this pass's
}

// A table for codes, each of its 16 entries in every lane of a block: of each pair of
// codes that differ in bit 0, the entry of the even one, and what the odd one's differs
// in.
struct entries_t {
    block_t even0;
    block_t change0;
    block_t even1;
    block_t change1;
    block_t even2;
    block_t change2;
    block_t even3;
    block_t change3;
    block_t even4;
    block_t change4;
    block_t even5;
    block_t change5;
    block_t even6;
    block_t change6;
    block_t even7;
    block_t change7;
}

// What a packet is counted as, in the order of switch/slots.py: the first three accept a
// contribution, FINISH the parent's result, and SEND_UP contributes to the parent once
// more. The last three count what follows, and what is no datagram.
enum bit<5> verdict_t {
    TAKE_OVER = 0,
    REDUCE = 1,
    START_AGAIN = 2,
    REPLAY = 3,
    ANSWER = 4,
    FINISH = 5,
    SEND_UP = 6,
    MALFORMED = 7,
    UNKNOWN_JOB = 8,
    UNKNOWN_SOURCE = 9,
    WRONG_OPCODE = 10,
    AHEAD = 11,
    STALE = 12,
    MISMATCH = 13,
    DUPLICATE = 14,
    RESULTS = 15,
    COPIES = 16,
    DAMAGED = 17
}

// What leaves the switch because of a packet.
enum bit<2> outcome_t {
    NOTHING = 0,
    REPLY = 1,          // to the child that sent it
    MULTICAST = 2,      // the result, to every child
    CONTRIBUTION = 3    // what the children came to, to the parent
}

// One version of a slot, but for its values.
struct slot_t {
    sequence_t      sequence;
    bitmap_t        bitmap;
    bit<16>         received;       // workers in it; 0: nothing held yet
    bit<16>         final;          // workers in the job's result; 0: there is none yet
    kind_t          kind;
    worker_t        recipient;
    element_count_t element_count;  // 0 until a payload has come
    exponent_t      exponent;
    flags_t         flags;
}

// A job as the control plane describes it. Its children are workers, and in a tree of
// switches (switch/tree.py) also the switches below.
struct job_t {
    row_t     row;
    version_t first_version;
    bit<32>   num_slots;
    bit<16>   slot_bytes;
    bit<16>   num_workers;  // of the whole job
    bit<16>   below;        // that the switch's children stand for
    bit<2>    overflow;
    bit<1>    rule;
    bit<3>    narrowest8;   // result type of sums of codes of eight bits; 3: none
    group_t   group;
    epoch_t   epoch;
    port_t    loop;
    port_t    parent;       // port that leads to the switch above; NO_PORT: a root
    bit<1>    has_switches; // some children are switches
}

// What a packet is from: a child of the switch, as the control plane describes it.
struct child_t {
    bitmap_t own_bit;           // in the bitmaps; 0: it is no child
    worker_t number;
    bit<16>  stands_for;        // workers
    port_t   port;
}

struct metadata_t {
    bit<16> rest;               // parser: bytes of UDP payload that are still to come
    bool    udp_is_whole;       // the UDP payload has been parsed to its end
    bit<16> zero;               // never written
    bool    is_reply;           // the packet goes out as a result or a status
    bool    is_flooded;
    bool    is_routed;
    worker_t receiver;          // of a copy: the number of a child, or PARENT
    worker_t toward;            // the child that gets the payload, or EVERY_WORKER
    job_t   job;
    child_t child;
    slot_t  slot;               // as the packet has left it
    looking_up_t looking_up;
    values_t values;            // the payload; then the values of the slot
    entries_t entries;          // what codes in the payload stand for
}

#endif
