// The device's own book-keeping between two steps, so that a step can start before the host has seen the last one's tokens.
//
//   step_inputs:   tokens[t] = source[t] if it is an id, else sampled[source[t] - 2^31]; previous = sampled
//   step_advance:  for each live sequence: tokens = sampled, positions + 1, kv_lens + 1, slots from the block table
//
//   source, tokens                          [T]                u32
//   sampled, previous                       [rows of the previous step] u32   previous stays while this step samples anew
//   positions, kv_lens, slots               [S]                u32     kv_lens 0: a padding row, left alone
//   block_tables                            [S, table_stride]  u32
//
// Grid     (ceil(count / 256)), 256 threads: one an entry.
// Shared   none.
// Cost     launch latency.
// Needs    sm_80 or later.
// Trusts   the engine: rows named in `source` sampled in the previous step; the table holds the block of the new position.
// Tested   emu/test_rows.cpp, exactly.
#include "ptx.cuh"

KERNEL(256, 1) step_inputs(const u32* source, const u32* sampled, u32* tokens, u32* previous, u32 count, u32 rows) {
    constexpr u32 SAMPLED = 1u << 31;
    let_next_kernel_start();
    wait_for_previous_kernel();
    u32 i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < rows) previous[i] = sampled[i];
    if (i >= count) return;
    u32 from = source[i];
    tokens[i] = from & SAMPLED ? sampled[from & ~SAMPLED] : from;
}

KERNEL(256, 1) step_advance(const u32* sampled, u32* tokens, u32* positions, u32* kv_lens, u32* slots, const u32* block_tables, u32 table_stride, u32 block_size, u32 count) {
    let_next_kernel_start();
    wait_for_previous_kernel();
    u32 i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= count || kv_lens[i] == 0) return;
    u32 position = positions[i] + 1;
    tokens[i] = sampled[i];
    positions[i] = position;
    kv_lens[i] = position + 1;
    slots[i] = block_tables[static_cast<u64>(i) * table_stride + position / block_size] * block_size + position % block_size;
}
