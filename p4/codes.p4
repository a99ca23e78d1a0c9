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

// All bits of the lanes in which the lowest bit of the code is set; then the next bit of
// the code becomes the lowest.
#define NEXT_MASK(number)                                       \
    mask = values.block##number & lane.lowest;                  \
    values.block##number = values.block##number >> 1;           \
    mask = (mask << lane.width) - mask;

// Of two codes that differ in bit 0 alone.
#define CHOOSE_ENTRY(pair)                                      \
    entry##pair = entries.even##pair ^ (mask & entries.change##pair);

// Left in the first.
#define CHOOSE(first, second)                                   \
    entry##first = entry##first ^ (mask & (entry##first ^ entry##second));

// One block, if `bytes` reach it. (Each line overwrites something that the value of the
// line before depends on. Else p4c would put that in where it is used, twice each time.)
#define LOOK_UP(number)                                         \
    if (bytes > number * BLOCK_BYTES) {                         \
        NEXT_MASK(number)                                       \
        CHOOSE_ENTRY(0)                                         \
        CHOOSE_ENTRY(1)                                         \
        CHOOSE_ENTRY(2)                                         \
        CHOOSE_ENTRY(3)                                         \
        CHOOSE_ENTRY(4)                                         \
        CHOOSE_ENTRY(5)                                         \
        CHOOSE_ENTRY(6)                                         \
        CHOOSE_ENTRY(7)                                         \
        NEXT_MASK(number)                                       \
        CHOOSE(0, 1)                                            \
        CHOOSE(2, 3)                                            \
        CHOOSE(4, 5)                                            \
        CHOOSE(6, 7)                                            \
        NEXT_MASK(number)                                       \
        CHOOSE(0, 2)                                            \
        CHOOSE(4, 6)                                            \
        NEXT_MASK(number)                                       \
        CHOOSE(0, 4)                                            \
        values.block##number = entry0;                          \
    }

// Codes to entries; `bytes` is the length of the outcome. (Behind the last element, where
// there is no code, lanes are left with the entry of code 0: nobody sees them.)
control LookUp(
    inout values_t values, in entries_t entries, in kind_t kind, in bit<16> bytes
) {
    LaneOf() lane_of;
    lane_t lane;
    block_t mask;
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
