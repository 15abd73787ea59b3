// Embedding: the rows of the table that the tokens name become the residual stream.
//
//   residual[t, :] = table[tokens[t], :] * scale
//
//   tokens    [T]              u32
//   table     [vocab, hidden]  as the file stores it: bf16 (embed; hidden a multiple of 8), f16 and f32 (little-endian), or GGUF
//                              blocks (hidden a multiple of the block's length)
//   residual  [T, hidden]      f32
//
// Grid     (T): one CTA a token; 256 threads.
// Shared   none.
// Numbers  bf16 and f16 widened exactly, quantised numbers with the bits that the CPU gives them; then one f32 product.
// Cost     memory bound: 4 bytes and what the table has for each element of a token.
// Needs    sm_80 or later.
// Trusts   kernels/src/ops/embed.rs, and the sampler, which gives no id past the vocabulary.
// Tested   emu/test_rows.cpp, against f64.
#include "gguf.cuh"

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

namespace embed_detail {

// Writes one token's row, number by number; `number(i)` is element i of the table's row.
template <class Number>
DEVICE void write_row(float* residual, u32 hidden, float scale, Number number) {
    float* to = residual + static_cast<u64>(blockIdx.x) * hidden;
    for (u32 i = threadIdx.x; i < hidden; i += blockDim.x) to[i] = number(i) * scale;
}

template <class Block>
DEVICE void embed_blocks(const u32* tokens, const u8* table, float* residual, u32 hidden, float scale) {
    let_next_kernel_start();
    wait_for_previous_kernel();
    const u8* from = table + static_cast<u64>(tokens[blockIdx.x]) * (hidden / Block::LEN) * Block::BYTES;
    write_row(residual, hidden, scale, [&](u32 i) { return gguf::number<Block>(from + i / Block::LEN * Block::BYTES, i % Block::LEN); });
}

}  // namespace embed_detail

KERNEL(256, 1) embed_f32(const u32* tokens, const float* table, float* residual, u32 hidden, float scale) {
    let_next_kernel_start();
    wait_for_previous_kernel();
    const float* from = table + static_cast<u64>(tokens[blockIdx.x]) * hidden;
    embed_detail::write_row(residual, hidden, scale, [&](u32 i) { return from[i]; });
}

KERNEL(256, 1) embed_f16(const u32* tokens, const f16* table, float* residual, u32 hidden, float scale) {
    let_next_kernel_start();
    wait_for_previous_kernel();
    const f16* from = table + static_cast<u64>(tokens[blockIdx.x]) * hidden;
    embed_detail::write_row(residual, hidden, scale, [&](u32 i) { return widen(from[i]); });
}

#define EMBED_BLOCKS(name, block) \
    KERNEL(256, 1) name(const u32* tokens, const u8* table, float* residual, u32 hidden, float scale) { embed_detail::embed_blocks<gguf::block>(tokens, table, residual, hidden, scale); }
EMBED_BLOCKS(embed_q4_0, Q4_0)
EMBED_BLOCKS(embed_q4_1, Q4_1)
EMBED_BLOCKS(embed_q5_0, Q5_0)
EMBED_BLOCKS(embed_q5_1, Q5_1)
EMBED_BLOCKS(embed_q8_0, Q8_0)
EMBED_BLOCKS(embed_q2_k, Q2_K)
EMBED_BLOCKS(embed_q3_k, Q3_K)
EMBED_BLOCKS(embed_q4_k, Q4_K)
EMBED_BLOCKS(embed_q5_k, Q5_K)
EMBED_BLOCKS(embed_q6_k, Q6_K)
