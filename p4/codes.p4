// Codes: each element of a contribution stands for an entry of the job's table.
//
// The lanes of a block hold codes of four bits. A code's bits lead through a tree of
// choices, for all lanes at once: bit 0 chooses between the entries of codes 0 and 1, of
// 2 and 3, and so on; bit 1 between what is left of these; after bit 3 one is left.

#ifndef CODES_P4
#define CODES_P4

#include <core.p4>
#include "headers.p4"
#include "lanes.p4"

// All lanes in which bit `number` of the code is set. Lanes are as wide as results.
#define MASK_OF(mask, block, number)                            \
    mask = block >> number & lane.lowest;                       \
    mask = (mask << lane.width) - mask;

// `one` where the mask is set, `zero` elsewhere; left in `zero`.
#define CHOOSE(mask, zero, one)  zero = zero ^ (mask & (zero ^ one));

// Of the entries of two codes that differ in bit 0.
#define CHOOSE_ENTRY(pair)                                      \
    entry##pair = entries.even##pair ^ (mask0 & entries.change##pair);

// One block, if `bytes` reach it.
#define LOOK_UP(number)                                         \
    if (bytes > number * BLOCK_BYTES) {                         \
        MASK_OF(mask0, values.block##number, 0)                 \
        MASK_OF(mask1, values.block##number, 1)                 \
        MASK_OF(mask2, values.block##number, 2)                 \
        MASK_OF(mask3, values.block##number, 3)                 \
        CHOOSE_ENTRY(0)                                         \
        CHOOSE_ENTRY(1)                                         \
        CHOOSE_ENTRY(2)                                         \
        CHOOSE_ENTRY(3)                                         \
        CHOOSE_ENTRY(4)                                         \
        CHOOSE_ENTRY(5)                                         \
        CHOOSE_ENTRY(6)                                         \
        CHOOSE_ENTRY(7)                                         \
        CHOOSE(mask1, entry0, entry1)                           \
        CHOOSE(mask1, entry2, entry3)                           \
        CHOOSE(mask1, entry4, entry5)                           \
        CHOOSE(mask1, entry6, entry7)                           \
        CHOOSE(mask2, entry0, entry2)                           \
        CHOOSE(mask2, entry4, entry6)                           \
        CHOOSE(mask3, entry0, entry4)                           \
        values.block##number = entry0;                          \
    }

// Codes to entries; `bytes` is the length of the outcome. (Behind the last element, where
// there is no code, lanes are left with the entry of code 0: nobody sees them.)
control LookUp(inout values_t values, in entries_t entries, in kind_t kind, in bit<16> bytes) {
    LaneOf() lane_of;
    lane_t lane;
    block_t mask0;
    block_t mask1;
    block_t mask2;
    block_t mask3;
    block_t entry0;
    block_t entry1;
    block_t entry2;
    block_t entry3;
    block_t entry4;
    block_t entry5;
    block_t entry6;
    block_t entry7;

    apply {
        lane_of.apply(kind, lane);
        LOOK_UP(0)
        LOOK_UP(1)
        LOOK_UP(2)
        LOOK_UP(3)
        LOOK_UP(4)
    }
}

#endif
