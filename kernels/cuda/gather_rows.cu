// Picks rows of a matrix: those whose logits are wanted, before the last norm and the head.
//
//   out[r, :] = x[idx[r], :]
//
//   x    [rows_in, row_bytes]  any type    row_bytes a multiple of 16
//   idx  [rows]                u32
//   out  [rows, row_bytes]
//
// Grid     (rows): one CTA a row; 256 threads, 16 bytes each at a time.
// Shared   none.
// Cost     memory bound: 2 * row_bytes a row.
// Needs    sm_80 or later.
// Trusts   kernels/src/ops/gather_rows.rs.
// Tested   emu/test_rows.cpp, bit for bit.
#include "ptx.cuh"

KERNEL(256, 1) gather_rows(const u8* x, const u32* idx, u8* out, u32 row_bytes) {
    let_next_kernel_start();
    wait_for_previous_kernel();
    const u8* from = x + static_cast<u64>(idx[blockIdx.x]) * row_bytes;
    u8* to = out + static_cast<u64>(blockIdx.x) * row_bytes;
    for (u32 i = threadIdx.x * 16; i < row_bytes; i += blockDim.x * 16) *reinterpret_cast<Vec16*>(to + i) = *reinterpret_cast<const Vec16*>(from + i);
}
