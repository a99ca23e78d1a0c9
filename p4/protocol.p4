// The wire format and its codes: docs/protocol.md, switch/protocol.py.

#ifndef PROTOCOL_P4
#define PROTOCOL_P4

typedef bit<4>  format_t;
typedef bit<4>  opcode_t;
typedef bit<8>  kind_t;
typedef bit<16> job_id_t;
typedef bit<16> worker_t;
typedef bit<32> sequence_t;
typedef bit<16> element_count_t;
typedef bit<8>  exponent_t;     // signed: compare with `exceeds`
typedef bit<8>  flags_t;
typedef bit<64> bitmap_t;       // worker w at bit w

const format_t FORMAT = 1;
const worker_t EVERY_WORKER = 0xFFFF;
const exponent_t NO_EXPONENT = 0x80;
const bit<16> STATUS_BYTES = 8; // payload of a status: the bitmap

const opcode_t CONTRIBUTE = 0;
const opcode_t RESULT = 1;
const opcode_t QUERY = 2;
const opcode_t STATUS = 3;

const bit<2> SUM = 0;
const bit<2> MAX = 1;
const bit<2> OR = 2;

const bit<3> INT8 = 0;
const bit<3> INT16 = 1;
const bit<3> INT32 = 2;
const bit<3> CODE4 = 3;         // two codes a byte
const bit<3> CODE8 = 4;

const flags_t OVERFLOW = 1;
const flags_t REPEATED = 2;
const flags_t KEPT_FLAGS = 5;   // overflow and clipped

// What a sum does when it leaves the range of the result type.
const bit<2> WRAP = 0;
const bit<2> SATURATE = 1;
const bit<2> DETECT = 2;

// How a slot treats packets of another sequence.
const bit<1> SAFE = 0;
const bit<1> SWITCHML = 1;

header aggregation_t {
    format_t        format;
    opcode_t        opcode;
    kind_t          kind;       // reduction (2 bits), element type (3), result type (3)
    job_id_t        job;
    worker_t        worker;
    worker_t        recipient;
    sequence_t      sequence;
    element_count_t element_count;
    exponent_t      exponent;
    flags_t         flags;
}

bit<2> reduction_of(in kind_t kind) {
    return kind[7:6];
}

bit<3> element_type_of(in kind_t kind) {
    return kind[5:3];
}

bit<3> result_type_of(in kind_t kind) {
    return kind[2:0];
}

// Whether one exponent is larger than another. (A register forgets that it is signed.)
bool exceeds(in exponent_t one, in exponent_t other) {
    return (one ^ 0x80) > (other ^ 0x80);
}

// The kind of what was summed: codes and narrow elements have become its result type.
kind_t reduced_kind(in kind_t kind) {
    return kind[7:6] ++ kind[2:0] ++ kind[2:0];
}

bool is_code(in kind_t kind) {
    return kind[5:3] == CODE4 || kind[5:3] == CODE8;
}

// Bytes of `count` elements of a type; of code4, of an even number. (Elements of the
// types 0 to 4 have 2, 4, 8, 1 and 2 half bytes: a branch for each would cost more.)
bit<32> bytes_of(in element_count_t count, in bit<3> type) {
    return (bit<32>) count << (bit<2>) (type + 1) >> 1;
}

#endif
