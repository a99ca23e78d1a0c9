// Codes of eight bits: each stands for one of the 256 entries of the job's table, which
// is kept in a register and read lane by lane. (The tree of codes.p4 would be of 255
// choices, with as many blocks of operands.)
//
// P4 has no loops. So a pass looks up a block of codes, 256 of them, and a packet that
// has more is resubmitted with what was found. Its blocks come last to first, so that
// their entries, which need more room, overwrite no code that is still to be looked up.
// BMv2 takes resubmitted packets before all others: they keep their order.
//
// Nor has P4Runtime a way to write BMv2's registers. So a table comes as parameters of
// an action. The first packet that needs it after the job was installed or reset takes
// it to the register, in passes of its own.

#ifndef CODES8_P4
#define CODES8_P4

#include <core.p4>
#include <v1model.p4>
#include "headers.p4"
#include "payload.p4"

const bit<32> TABLE_ENTRIES = 256;
const bit<4> LAST_PART = 15;    // of a table, which comes sixteen entries at a time

#define WRITE_ENTRY(number)                                     \
    entries.write(at, entry##number);                           \
    at = at + 1;

// The entry of the first code of `word`, as one more lane of `eight`. (Each line
// overwrites something that the value of the line before depends on. Else p4c would
// have a variable more for each of these lines, and BMv2 more to copy for any packet.)
#define READ_ENTRY(next)                                        \
    at = first | (bit<32>) word[63:56];                         \
    word = next;                                                \
    entries.read(entry, at);                                    \
    eight = eight << width | (bit<256>) (entry & ones);

// The next eight codes, as lanes behind those that are found. (BMv2 shifts by 255 bits
// at most.)
#define READ_EIGHT                                              \
    eight = 0;                                                  \
    READ_ENTRY(word << 8)                                       \
    READ_ENTRY(word << 8)                                       \
    READ_ENTRY(word << 8)                                       \
    READ_ENTRY(word << 8)                                       \
    READ_ENTRY(word << 8)                                       \
    READ_ENTRY(word << 8)                                       \
    READ_ENTRY(word << 8)                                       \
    READ_ENTRY(codes[2047:1984])                                \
    codes = codes[1983:0] ++ 64w0;                              \
    found = found << 4 * width << 4 * width | (block_t) eight;

#define CODES_OF(number)                                        \
    if (done.left == number) {                                  \
        codes = values.block##number;                           \
    }
#define PLACE(result_type, left, number)                        \
    if (pass == result_type ++ (bit<3>) left) {                 \
        values.block##number = found;                           \
    }
// A quarter of the block of codes, if `count` reaches it.
#define LOOK_UP_64(quarter)                                     \
    if (count > 64 * quarter) {                                 \
        look_up_64();                                           \
    } else if (width == 16) {                                   \
        found = found[1023:0] ++ 1024w0;                        \
    } else {                                                    \
        found = found[1535:0] ++ 512w0;                         \
    }

// One pass. `is_done`: `values` has what the codes of the packet stand for, in lanes of
// the result type; until then the packet has to come back.
control LookUp8(
    in headers_t hdr, in job_t job, inout looking_up_t done, inout values_t values,
    out bool is_done
) {
    register<bit<32>>((NUM_JOBS + 1) * TABLE_ENTRIES) entries;
    register<epoch_t>(NUM_JOBS + 1) epochs;     // of the jobs whose tables these are
    Unpack() unpack;

    kind_t kind = hdr.aggregation.kind;
    bit<32> first = (bit<32>) job.row * TABLE_ENTRIES;
    bit<32> at;
    epoch_t epoch;
    element_count_t count = hdr.aggregation.element_count;
    bit<8> width = 8;           // of a lane, in bits
    bit<32> ones;               // so many
    bit<6> pass;                // result type and done.left
    block_t found = 0;
    block_t codes = 0;
    bit<64> word;               // codes that come before these
    bit<256> eight;
    bit<32> entry;

    action write_part(
        bit<32> entry0, bit<32> entry1, bit<32> entry2, bit<32> entry3,
        bit<32> entry4, bit<32> entry5, bit<32> entry6, bit<32> entry7,
        bit<32> entry8, bit<32> entry9, bit<32> entry10, bit<32> entry11,
        bit<32> entry12, bit<32> entry13, bit<32> entry14, bit<32> entry15
    ) {
        WRITE_ENTRY(0)
        WRITE_ENTRY(1)
        WRITE_ENTRY(2)
        WRITE_ENTRY(3)
        WRITE_ENTRY(4)
        WRITE_ENTRY(5)
        WRITE_ENTRY(6)
        WRITE_ENTRY(7)
        WRITE_ENTRY(8)
        WRITE_ENTRY(9)
        WRITE_ENTRY(10)
        WRITE_ENTRY(11)
        WRITE_ENTRY(12)
        WRITE_ENTRY(13)
        WRITE_ENTRY(14)
        WRITE_ENTRY(15)
    }

    // The tables of the jobs that have one.
    table codes8 {
        key = {
            hdr.aggregation.job: exact @name("job");
            done.parts: exact @name("part");
        }
        actions = { write_part; @defaultonly NoAction; }
        const default_action = NoAction();
        size = NUM_JOBS * 16;
    }

    action look_up_64() {
        READ_EIGHT
        READ_EIGHT
        READ_EIGHT
        READ_EIGHT
        READ_EIGHT
        READ_EIGHT
        READ_EIGHT
        READ_EIGHT
    }

    apply {
        is_done = false;
        epochs.read(epoch, (bit<32>) job.row);
        if (epoch != job.epoch) {
            at = first | (bit<32>) done.parts << 4;
            codes8.apply();
            if (done.parts == LAST_PART) {
                epochs.write((bit<32>) job.row, job.epoch);
            }
            done.parts = done.parts + 1;
        } else {
            if (!done.is_unpacked) {
                unpack.apply(hdr, values);
                done.is_unpacked = true;
                done.left = (bit<3>) ((count - 1) >> 8);
            }
            count = count - ((bit<16>) done.left << 8);
            CODES_OF(0)
            CODES_OF(1)
            CODES_OF(2)
            CODES_OF(3)
            CODES_OF(4)
            if (result_type_of(kind) == INT16) {
                width = 16;
            } else if (result_type_of(kind) == INT32) {
                width = 32;
            }
            ones = 32w0xFFFFFFFF >> (32 - width);
            pass = result_type_of(kind) ++ done.left;
            word = codes[2047:1984];
            codes = codes[1983:0] ++ 64w0;

            LOOK_UP_64(0)
            PLACE(INT32, 1, 4)
            PLACE(INT32, 0, 0)
            LOOK_UP_64(1)
            PLACE(INT32, 0, 1)
            PLACE(INT16, 2, 4)
            PLACE(INT16, 1, 2)
            PLACE(INT16, 0, 0)
            LOOK_UP_64(2)
            PLACE(INT32, 0, 2)
            LOOK_UP_64(3)
            PLACE(INT32, 0, 3)
            PLACE(INT16, 1, 3)
            PLACE(INT16, 0, 1)
            PLACE(INT8, 4, 4)
            PLACE(INT8, 3, 3)
            PLACE(INT8, 2, 2)
            PLACE(INT8, 1, 1)
            PLACE(INT8, 0, 0)
            is_done = done.left == 0;
            done.left = done.left - 1;
        }
    }
}

#endif
