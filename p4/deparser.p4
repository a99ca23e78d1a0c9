// Headers to bytes, in the order of the wire.

#ifndef DEPARSER_P4
#define DEPARSER_P4

#include <core.p4>
#include "headers.p4"

control SwitchDeparser(packet_out packet, in headers_t hdr) {
    apply {
        packet.emit(hdr);
    }
}

#endif
