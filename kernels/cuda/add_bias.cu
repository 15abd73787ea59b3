// Adds a bias to every row of a product that came from a library whose own epilogue takes no f32 bias, in place.
//
//   x[t, i] += bias[i]
//
//   x     [T, n]  bf16     n a multiple of 8
//   bias  [n]     f32
//
// Grid     (ceil(n / 2048), T), 256 threads, 8 elements a thread.
// Shared   none.
// Numbers  f32, one rounding.
// Cost     memory bound: 4 * n bytes a row. Our own products add the bias in their epilogue (`product.cuh`).
// Needs    sm_80 or later.
// Trusts   kernels/src/cuda/ops/rows.rs.
// Tested   emu/test_rows.cpp, against f64.
#include "ptx.cuh"

KERNEL(256, 1) add_bias(bf16* x, const float* bias, u32 n) {
    let_next_kernel_start();
    wait_for_previous_kernel();
    u32 at = (blockIdx.x * blockDim.x + threadIdx.x) * 8;
    if (at >= n) return;
    Vec16* place = reinterpret_cast<Vec16*>(x + static_cast<u64>(blockIdx.y) * n + at);
    const float* b = bias + at;
    Vec16 v = *place;
    auto pair = [&](u32 words, u32 i) { return pack_bf16(low_half(words) + b[i], high_half(words) + b[i + 1]); };
    *place = Vec16{pair(v.x, 0), pair(v.y, 2), pair(v.z, 4), pair(v.w, 6)};
}
