// Embedding from a weight that is packed for products: a table that the last product shares is kept once.
//
//   residual[t, :] = row tokens[t] of the matrix, times scale
//
//   tokens    [T]          u32
//   codes, scales, minima  planes, as `quantised.cuh` lays them out, not gated
//   residual  [T, k]       f32    k a multiple of 32
//
// Formats  those of `linear_quantised.cu`.
// Grid     (T): one CTA a token; 256 threads, four numbers each.
// Shared   none.
// Numbers  what the product takes the weight for: scales rounded to f16.
// Cost     latency bound: a row's codes are a 16th of the tiles that are touched, but these are few.
// Needs    sm_80 or later.
// Trusts   kernels/src/ops/embed.rs, and the sampler, which gives no id past the vocabulary.
// Tested   emu/test_quantised.cpp, against the planes read in plain code.
#include "quantised.cuh"

namespace embed_packed_detail {

template <class F>
DEVICE void embed(const u32* tokens, const u8* codes, const u8* scales, const u8* minima, float* residual, u32 k, float scale) {
    let_next_kernel_start();
    wait_for_previous_kernel();
    u32 row = tokens[blockIdx.x], tile = row / 16, in_tile = row % 16, num_steps = ceil_div(k, QUANT_STEP);
    float* to = residual + static_cast<u64>(blockIdx.x) * k;
    for (u32 i = threadIdx.x; i < num_steps * 16; i += blockDim.x) {
        u32 step = i / 16, s = i % 16 / 4, t = i % 4, column = step * QUANT_STEP + owned_column<F>(s, t);
        if (column >= k) continue;
        Codes<F> held = read_codes<F>(codes + code_offset<F>(tile, step, num_steps), in_tile % 8 * 4 + t);
        Float4 v = four_numbers<F>(held, scales, minima, tile, step, k, row, in_tile, s);
        *reinterpret_cast<Float4*>(to + column) = Float4{v.x * scale, v.y * scale, v.z * scale, v.w * scale};
    }
}

}  // namespace embed_packed_detail

#define EMBED_PACKED(name, format)                                                                                                                  \
    KERNEL(256, 1) name(const u32* tokens, const u8* codes, const u8* scales, const u8* minima, float* residual, u32 k, float scale) {             \
        embed_packed_detail::embed<format>(tokens, codes, scales, minima, residual, k, scale);                                                      \
    }
EMBED_PACKED(embed_packed_q4g32, Q4G32)
EMBED_PACKED(embed_packed_q4g32z, Q4G32Min)
EMBED_PACKED(embed_packed_q4g128, Q4G128)
EMBED_PACKED(embed_packed_q4g128z, Q4G128Min)
EMBED_PACKED(embed_packed_q5g32, Q5G32)
EMBED_PACKED(embed_packed_q5g32z, Q5G32Min)
EMBED_PACKED(embed_packed_q6g16, Q6G16)
EMBED_PACKED(embed_packed_q8g32, Q8G32)
EMBED_PACKED(embed_packed_q8c, Q8Row)
EMBED_PACKED(embed_packed_f8c, F8Row)
