// Embedding: the rows of the table that the tokens name become the residual stream.
//
//   residual[t, :] = table[tokens[t], :] * scale
//
//   tokens    [T]              u32
//   table     [vocab, hidden]  bf16
//   residual  [T, hidden]      f32    hidden a multiple of 8
//
// Grid     (T): one CTA a token; 256 threads.
// Shared   none.
// Numbers  bf16 widened exactly, one f32 product.
// Cost     memory bound: 6 * hidden bytes a token.
// Needs    sm_80 or later.
// Trusts   kernels/src/ops/embed.rs, and the sampler, which gives no id past the vocabulary.
// Tested   emu/test_rows.cpp, against f64.
#include "ptx.cuh"

KERNEL(256, 1) embed(const u32* tokens, const bf16* table, float* residual, u32 hidden, float scale) {
    let_next_kernel_start();
    wait_for_previous_kernel();
    const bf16* from = table + static_cast<u64>(tokens[blockIdx.x]) * hidden;
    float* to = residual + static_cast<u64>(blockIdx.x) * hidden;
    for (u32 i = threadIdx.x * 8; i < hidden; i += blockDim.x * 8) {
        Vec16 v = load_streamed(from + i);
        *reinterpret_cast<Float4*>(to + i) = Float4{low_half(v.x) * scale, high_half(v.x) * scale, low_half(v.y) * scale, high_half(v.y) * scale};
        *reinterpret_cast<Float4*>(to + i + 4) = Float4{low_half(v.z) * scale, high_half(v.z) * scale, low_half(v.w) * scale, high_half(v.w) * scale};
    }
}
