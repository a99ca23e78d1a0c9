// Internet checksums: verified on what is for the switch, right on what leaves it.

#ifndef CHECKSUM_P4
#define CHECKSUM_P4

#include <core.p4>
#include <v1model.p4>
#include "headers.p4"

// A header that is not there adds nothing to a checksum.
#define IPV4_FIELDS                                                             \
    hdr.ipv4.version, hdr.ipv4.header_words, hdr.ipv4.service,                  \
    hdr.ipv4.total_length, hdr.ipv4.identification, hdr.ipv4.flags,             \
    hdr.ipv4.fragment_offset, hdr.ipv4.time_to_live, hdr.ipv4.protocol,         \
    hdr.ipv4.source, hdr.ipv4.destination, hdr.ipv4_options.options

#define UDP_FIELDS                                                              \
    hdr.ipv4.source, hdr.ipv4.destination, 8w0, hdr.ipv4.protocol,              \
    hdr.udp.length, hdr.udp.source, hdr.udp.destination, hdr.udp.length,        \
    hdr.aggregation.format, hdr.aggregation.opcode, hdr.aggregation.kind,       \
    hdr.aggregation.job, hdr.aggregation.worker, hdr.aggregation.recipient,     \
    hdr.aggregation.sequence, hdr.aggregation.element_count,                    \
    hdr.aggregation.exponent, hdr.aggregation.flags,                            \
    hdr.block0, hdr.block1, hdr.block2, hdr.block3, hdr.block4,                 \
    hdr.tail128, hdr.tail64, hdr.tail32, hdr.tail16, hdr.tail8, hdr.tail4,      \
    hdr.tail2, hdr.tail1

// What is right gives 0 when summed up with its checksum, whether the sender has
// written 0 or 0xFFFF where the two are the same.
control VerifyChecksums(inout headers_t hdr, inout metadata_t meta) {
    apply {
        verify_checksum(hdr.ipv4.isValid(), { hdr.ipv4.checksum, IPV4_FIELDS },
            meta.zero, HashAlgorithm.csum16);
        // A UDP checksum of 0 says that there is none.
        verify_checksum(meta.udp_is_whole && hdr.udp.checksum != 0,
            { hdr.udp.checksum, UDP_FIELDS }, meta.zero, HashAlgorithm.csum16);
    }
}

// Whether a host's kernel would not deliver a datagram.
control Damaged(in headers_t hdr, in standard_metadata_t standard, out bool damaged) {
    apply {
        bit<32> length = (bit<32>) hdr.udp.length;
        damaged = standard.parser_error != error.NoError
            || standard.checksum_error == 1
            || hdr.udp.length < UDP_BYTES
            || (bit<32>) hdr.ipv4.total_length
                < ((bit<32>) hdr.ipv4.header_words << 2) + length;
    }
}

// Computed in egress, and not in UpdateChecksums, which cannot write 0xFFFF where the
// sum is 0 (which would say that there is none).
control UdpChecksum(inout headers_t hdr) {
    apply {
        hash(hdr.udp.checksum, HashAlgorithm.csum16, 16w0, { UDP_FIELDS }, 32w0x10000);
        if (hdr.udp.checksum == 0) {
            hdr.udp.checksum = 0xFFFF;
        }
    }
}

control UpdateChecksums(inout headers_t hdr, inout metadata_t meta) {
    apply {
        update_checksum(meta.is_reply || meta.is_routed, { IPV4_FIELDS },
            hdr.ipv4.checksum, HashAlgorithm.csum16);
    }
}

#endif
