// Copies whole blocks of a KV cache: what a shared block needs before one of its owners writes to it.
//
//   cache[pairs[i][1]] = cache[pairs[i][0]], for each pair
//
//   cache  [blocks, block_bytes]  bytes   one layer's keys, or its values, of any type; block_bytes a multiple of 16
//   pairs  [count, 2]             u32     from, to; no block is written twice, and none that is written is read
//
// Grid     (count, any), 256 threads: the y blocks share a pair.
// Shared   none.
// Cost     memory bound: 2 * block_bytes a pair.
// Needs    sm_80 or later.
// Trusts   the host, which made the pairs: both ends inside the cache.
// Tested   emu/test_rows.cpp.
#include "ptx.cuh"

KERNEL(256, 1) block_copy(u8* cache, const u32* pairs, u64 block_bytes) {
    let_next_kernel_start();
    wait_for_previous_kernel();
    const u8* from = cache + pairs[2 * blockIdx.x] * block_bytes;
    u8* to = cache + pairs[2 * blockIdx.x + 1] * block_bytes;
    u64 stride = static_cast<u64>(gridDim.y) * blockDim.x * 16;
    for (u64 at = (static_cast<u64>(blockIdx.y) * blockDim.x + threadIdx.x) * 16; at < block_bytes; at += stride)
        *reinterpret_cast<Vec16*>(to + at) = *reinterpret_cast<const Vec16*>(from + at);
}
