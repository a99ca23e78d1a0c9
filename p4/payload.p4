// Between the pieces in which a payload is parsed and deparsed, and blocks of values.

#ifndef PAYLOAD_P4
#define PAYLOAD_P4

#include <core.p4>
#include "headers.p4"

// The tail goes where the block after the last whole one is. Its pieces are put
// together from the last and smallest on: each pushes the others to the right.
control Unpack(in headers_t hdr, out values_t values) {
#define PUSH(bytes)                                             \
    if (hdr.tail##bytes.isValid()) {                            \
        values.block4 = hdr.tail##bytes.value                   \
            ++ values.block4[2047:8 * bytes];                   \
    }
#define BLOCK_OR_TAIL(number)                                   \
    if (hdr.block##number.isValid()) {                          \
        values.block##number = hdr.block##number.value;         \
    } else {                                                    \
        values.block##number = values.block4;                   \
        values.block4 = 0;                                      \
    }

    apply {
        values.block4 = 0;
        PUSH(1)
        PUSH(2)
        PUSH(4)
        PUSH(8)
        PUSH(16)
        PUSH(32)
        PUSH(64)
        PUSH(128)
        BLOCK_OR_TAIL(0)
        BLOCK_OR_TAIL(1)
        BLOCK_OR_TAIL(2)
        BLOCK_OR_TAIL(3)
        if (hdr.block4.isValid()) {
            values.block4 = hdr.block4.value;
        }
    }
}

// No payload at all.
control Strip(inout headers_t hdr) {
    apply {
        hdr.block0.setInvalid();
        hdr.block1.setInvalid();
        hdr.block2.setInvalid();
        hdr.block3.setInvalid();
        hdr.block4.setInvalid();
        hdr.tail128.setInvalid();
        hdr.tail64.setInvalid();
        hdr.tail32.setInvalid();
        hdr.tail16.setInvalid();
        hdr.tail8.setInvalid();
        hdr.tail4.setInvalid();
        hdr.tail2.setInvalid();
        hdr.tail1.setInvalid();
    }
}

// The first `bytes` bytes of values become the payload of a packet.
control Pack(inout headers_t hdr, in values_t values, in bit<16> bytes) {
    Strip() strip;
    block_t tail = values.block0;

#define WHOLE(number, next)                                     \
    if (bytes >= (number + 1) * BLOCK_BYTES) {                  \
        hdr.block##number.setValid();                           \
        hdr.block##number.value = values.block##number;         \
        tail = next;                                            \
    }
#define POP(bytes_of_piece, bit)                                \
    if (bytes[bit:bit] == 1) {                                  \
        hdr.tail##bytes_of_piece.setValid();                    \
        hdr.tail##bytes_of_piece.value = tail[2047:2048 - 8 * bytes_of_piece]; \
        tail = tail << (8 * bytes_of_piece);                    \
    }

    apply {
        strip.apply(hdr);
        WHOLE(0, values.block1)
        WHOLE(1, values.block2)
        WHOLE(2, values.block3)
        WHOLE(3, values.block4)
        WHOLE(4, 0)
        if (bytes[7:7] == 1) {
            hdr.tail128.setValid();
            hdr.tail128.value = tail[2047:1024];
            tail = tail[1023:0] ++ 1024w0;      // BMv2 shifts by 256 at most
        }
        if (bytes[6:6] == 1) {
            hdr.tail64.setValid();
            hdr.tail64.value = tail[2047:1536];
            tail = tail[1535:0] ++ 512w0;
        }
        POP(32, 5)
        POP(16, 4)
        POP(8, 3)
        POP(4, 2)
        POP(2, 1)
        POP(1, 0)
    }
}

#endif
