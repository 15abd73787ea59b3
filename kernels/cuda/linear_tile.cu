// Products with many activation rows and bf16 weights, for devices without cuBLASLt and for results that do not depend on the batch.
//
//   y[m, n] = sum_k x[m, k] * w[n, k] (+ bias[n]), then the epilogue of `product.cuh`
//
//   x     [m, k]  bf16    k a multiple of 8
//   w     [n, k]  bf16    as in the checkpoint
//   bias  [n]     f32     or null
//   out   [m, out_stride] bf16 or f32: its first n columns, or n / 2 when gated
//
// Grid     (ceil(n / 128), ceil(m / 128)), 256 threads: `tile.cuh` says how the work is cut.
// Shared   3 stages * 32 KiB; two CTAs an SM.
// Numbers  bf16 products, f32 sums on the tensor cores, one rounding (none for f32 outputs).
// Order    K ascending: same bits for a row whatever m.
// Cost     compute bound from about 300 rows: 2 m n k FLOP; by mma.sync, which reaches about two thirds of what wgmma does on Hopper.
//          Not timed on a GPU yet.
// Needs    sm_80 or later; shared memory as above.
// Trusts   kernels/src/ops/linear.rs.
// Tested   emu/test_linear.cpp, against f64, and for equal bits among other rows.
#include "tile.cuh"

KERNEL(256, 2) linear_tile_bf16(const bf16* x, const bf16* w, const float* bias, void* out, u32 m, u32 n, u32 k, u32 out_stride, u32 epilogue) {
    tile::Place place = tile::place_of_block();
    tile::product(place, tile::DenseWeights{w, n, k, place.w_tile, is_gated(epilogue)}, x, bias, out, m, n, k, out_stride, epilogue);
}
