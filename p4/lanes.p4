// Element arithmetic: on all elements of a block at once, whatever their width.
//
// A block is one word of 2048 bits. Masks keep its lanes apart: HIGH has the top bit of
// every lane. So one addition serves 256 int8, 128 int16 or 64 int32.

#ifndef LANES_P4
#define LANES_P4

#include <core.p4>
#include <v1model.p4>
#include "headers.p4"

#define TWICE(word) ((word) ++ (word))
#define REPEATED_32(word) TWICE(TWICE(TWICE(TWICE(TWICE(word)))))
#define REPEATED_64(word) TWICE(REPEATED_32(word))

const block_t HIGH_INT8  = REPEATED_64(32w0x80808080);
const block_t HIGH_INT16 = REPEATED_64(32w0x80008000);
const block_t HIGH_INT32 = REPEATED_64(32w0x80000000);
const block_t LOWEST_INT8  = REPEATED_64(32w0x01010101);
const block_t LOWEST_INT16 = REPEATED_64(32w0x00010001);
const block_t LOWEST_INT32 = REPEATED_64(32w0x00000001);

const bit<64> ONES_64 = 0xFFFFFFFFFFFFFFFF;

// Every other 4, 8, 16, ... bits, from the lowest on: what is left when a word is spread.
const block_t EVERY_OTHER_4   = REPEATED_64(32w0x0F0F0F0F);
const block_t EVERY_OTHER_8   = REPEATED_64(32w0x00FF00FF);
const block_t EVERY_OTHER_16  = REPEATED_64(32w0x0000FFFF);
const block_t EVERY_OTHER_32  = REPEATED_32(32w0 ++ 32w0xFFFFFFFF);
const block_t EVERY_OTHER_64  = TWICE(TWICE(TWICE(TWICE(64w0 ++ ONES_64))));
const block_t EVERY_OTHER_128 = TWICE(TWICE(TWICE(128w0 ++ TWICE(ONES_64))));
const block_t EVERY_OTHER_256 = TWICE(TWICE(256w0 ++ TWICE(TWICE(ONES_64))));

// What is done to the values of a slot.
enum bit<2> operation_t {
    READ = 0,
    WRITE = 1,      // the first payload
    COMBINE = 2     // a later one
}

// The lanes of a result type.
struct lane_t {
    block_t high;   // the top bit of every lane
    block_t low;    // all other bits
    block_t lowest; // the lowest bit of every lane
    bit<8>  top;    // number of the top bit
    bit<8>  width;  // top + 1
}

control LaneOf(in kind_t kind, out lane_t lane) {
    apply {
        if (result_type_of(kind) == INT8) {
            lane.high = HIGH_INT8;
            lane.low = ~HIGH_INT8;
            lane.lowest = LOWEST_INT8;
            lane.top = 7;
            lane.width = 8;
        } else if (result_type_of(kind) == INT16) {
            lane.high = HIGH_INT16;
            lane.low = ~HIGH_INT16;
            lane.lowest = LOWEST_INT16;
            lane.top = 15;
            lane.width = 16;
        } else {
            lane.high = HIGH_INT32;
            lane.low = ~HIGH_INT32;
            lane.lowest = LOWEST_INT32;
            lane.top = 31;
            lane.width = 32;
        }
    }
}

// One block of `values` combined with one block of a payload.
control Combine(
    inout block_t value, in block_t element, in lane_t lane, in bit<2> reduction,
    in bit<2> overflow, inout bool left_range
) {
    block_t old = value;
    block_t tops = 0;   // the top bits of some lanes
    block_t lanes;      // all bits of these lanes

    apply {
        if (reduction == SUM) {
            // The top bits are kept out of the addition, so that no carry leaves a
            // lane, and are added without carry.
            value = ((old & lane.low) + (element & lane.low))
                ^ ((old ^ element) & lane.high);
            if (overflow != WRAP) {
                // where both operands differ from the sum in sign
                tops = (old ^ value) & (element ^ value) & lane.high;
            }
        } else if (reduction == MAX) {
            // Where `old` is as large or larger. With the same sign the lower bits
            // decide: no borrow has taken the top bit. Else it is the positive one.
            tops = (old | lane.high) - (element & lane.low);
            tops = ((element & ~old) | (tops & ~(old ^ element))) & lane.high;
        } else {
            value = old | element;
        }

        lanes = tops | (tops - (tops >> lane.top));
        if (reduction == MAX) {
            value = (old & lanes) | (element & ~lanes);
        } else if (tops != 0 && overflow == SATURATE) {
            // the largest integer; one more, where negative, is the smallest
            value = (value & ~lanes)
                | ((lanes & lane.low) + ((old & tops) >> lane.top));
        } else if (tops != 0) {
            left_range = true;
        }
    }
}

// The registers of one block of every slot.
control Block(
    inout block_t value, in operation_t operation, in version_t version,
    in lane_t lane, in bit<2> reduction, in bit<2> overflow, inout bool left_range
) {
    register<block_t>(NUM_VERSIONS) values;
    Combine() combine;
    block_t element = value;

    apply {
        if (operation != operation_t.WRITE) {
            values.read(value, version);
        }
        if (operation == operation_t.COMBINE) {
            combine.apply(value, element, lane, reduction, overflow, left_range);
        }
        if (operation != operation_t.READ) {
            values.write(version, value);
        }
    }
}

// `bytes` bytes of the values of a slot: read, written or combined with a payload, and
// left in `values`.
control Values(
    inout values_t values, in operation_t operation, in version_t version,
    in bit<16> bytes, in kind_t kind, in bit<2> overflow, inout bool left_range
) {
    LaneOf() lane_of;
    Block() block0;
    Block() block1;
    Block() block2;
    Block() block3;
    Block() block4;
    lane_t lane;

#define APPLY_BLOCK(number)                                                     \
    if (bytes > number * BLOCK_BYTES) {                                         \
        block##number.apply(values.block##number, operation, version, lane,     \
            reduction_of(kind), overflow, left_range);                          \
    }

    apply {
        lane_of.apply(kind, lane);
        APPLY_BLOCK(0)
        APPLY_BLOCK(1)
        APPLY_BLOCK(2)
        APPLY_BLOCK(3)
        APPLY_BLOCK(4)
    }
}

// Widening: half a block of elements becomes a block of elements twice as wide. The
// halves of the word move apart, then the halves of each half, and so on until single
// elements stand in lanes of their own, whose upper halves take the sign. (Codes of four
// bits become integers of eight, and have none.)
#define HALVES_APART(half) (512w0 ++ (half)[1023:512] ++ 512w0 ++ (half)[511:0])

// The rest of it, in place. (Each line uses `word` as the line before has left it. Had
// it a known value here, p4c would put that in for every `word`, and so on for each
// line: 2 to the power of 6 times the code.)
control Spread(inout block_t word, in bit<3> type) {
    block_t sign;

    apply {
        word = (word | word << 256) & EVERY_OTHER_256;
        word = (word | word << 128) & EVERY_OTHER_128;
        word = (word | word << 64) & EVERY_OTHER_64;
        word = (word | word << 32) & EVERY_OTHER_32;
        word = (word | word << 16) & EVERY_OTHER_16;
        if (type == CODE4) {
            word = (word | word << 8) & EVERY_OTHER_8;
            word = (word | word << 4) & EVERY_OTHER_4;
        } else if (type == INT8) {
            word = (word | word << 8) & EVERY_OTHER_8;
            sign = (word << 8) & HIGH_INT16;
            word = word | sign | (sign - (sign >> 8));
        } else {
            sign = (word << 16) & HIGH_INT32;
            word = word | sign | (sign - (sign >> 16));
        }
    }
}

// All elements of a payload to the next width; `bytes` is the length of the outcome.
control WidenOnce(inout values_t values, in bit<3> type, in bit<16> bytes) {
    Spread() spread0;
    Spread() spread1;
    Spread() spread2;
    Spread() spread3;
    Spread() spread4;

#define TAKE_HALF(to, half)                                     \
    if (bytes > to * BLOCK_BYTES) {                             \
        values.block##to = HALVES_APART(half);                  \
    }
#define SPREAD(number)                                          \
    if (bytes > number * BLOCK_BYTES) {                         \
        spread##number.apply(values.block##number, type);       \
    }

    apply {
        // from the last on, so that no half is overwritten before it is read
        TAKE_HALF(4, values.block2[2047:1024])
        TAKE_HALF(3, values.block1[1023:0])
        TAKE_HALF(2, values.block1[2047:1024])
        TAKE_HALF(1, values.block0[1023:0])
        TAKE_HALF(0, values.block0[2047:1024])
        SPREAD(0)
        SPREAD(1)
        SPREAD(2)
        SPREAD(3)
        SPREAD(4)
    }
}

// Elements of a contribution to the width of its result type, sign-extended; codes too.
control Widen(inout values_t values, in kind_t kind, in element_count_t element_count) {
    WidenOnce() code4_to_int8;
    WidenOnce() int8_to_int16;
    WidenOnce() int16_to_int32;
    bit<16> bytes;

    apply {
        bool is_code4 = element_type_of(kind) == CODE4;
        bool is_narrow = element_type_of(kind) == INT8 || is_code4;
        if (is_code4) {
            bytes = (bit<16>) bytes_of(element_count, INT8);
            code4_to_int8.apply(values, CODE4, bytes);
        }
        if (is_narrow && result_type_of(kind) != INT8) {
            bytes = (bit<16>) bytes_of(element_count, INT16);
            int8_to_int16.apply(values, INT8, bytes);
        }
        if (element_type_of(kind) != INT32 && result_type_of(kind) == INT32) {
            bytes = (bit<16>) bytes_of(element_count, INT32);
            int16_to_int32.apply(values, INT16, bytes);
        }
    }
}

#endif
