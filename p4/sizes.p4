// What the program is compiled for. Each value can be set on p4c's command line:
// p4c-bm2-ss -DNUM_SLOTS=4096 ...

#ifndef SIZES_P4
#define SIZES_P4

#ifndef NUM_SLOTS
#define NUM_SLOTS 32768         // of all jobs together
#endif
#ifndef NUM_JOBS
#define NUM_JOBS 255            // at once
#endif
#ifndef NUM_BINDINGS
#define NUM_BINDINGS 4096       // children and parents of all jobs together
#endif
#ifndef NUM_RANKS
#define NUM_RANKS 16384         // workers behind the children of all jobs in trees
#endif
#ifndef NUM_HOSTS
#define NUM_HOSTS 1024          // entries of each table that forwards
#endif
#ifndef SWITCH_PORT
#define SWITCH_PORT 48864       // UDP
#endif

// A slot is as wide as five blocks; a job may use less. A block is 2048 bits, which is
// the widest word of p4c and of a register.
const bit<16> SLOT_BYTES = 1280;
const bit<16> BLOCK_BYTES = 256;

// Each slot is kept in two versions.
const bit<32> NUM_VERSIONS = 2 * NUM_SLOTS;

const bit<16> ETHERNET_BYTES = 14;
const bit<16> IPV4_BYTES = 20;
const bit<16> UDP_BYTES = 8;
const bit<16> HEADER_BYTES = 16;
const bit<16> ALL_HEADERS_BYTES =
    ETHERNET_BYTES + IPV4_BYTES + UDP_BYTES + HEADER_BYTES;

// BMv2 gives a packet room to become this much longer, and stops with a failed
// assertion when it becomes longer still.
const bit<16> GROWTH = 512;

// Counters of a job: one for each verdict, the multicasts and the copies.
const bit<32> COUNTERS_PER_JOB = 32;
const bit<32> NUM_COUNTERS = (NUM_JOBS + 1) * COUNTERS_PER_JOB;

#endif
