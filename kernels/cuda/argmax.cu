// Greedy choice: the largest logit of each row and the logarithm of its probability, in two stages.
//
//   token[r]   = the lowest v with logits[r, v] = max(logits[r, :])
//   logprob[r] = logits[r, token] - log(sum_v exp(logits[r, v]))
//
//   logits   [rows, vocab]   f32
//   partial  [rows, chunks]  {maximum, sum of exp(l - maximum), index bits, 0}   16 bytes each
//   token    [rows] u32, logprob [rows] f32
//
// Grid     argmax_partial (chunks, rows) of 256 threads; argmax_final (rows) of 32.
// Shared   less than 1 KiB.
// Numbers  f32; NaN never wins.
// Order    threads, warps and chunks are merged by fixed trees over the vocabulary: bits depend on the row and on `chunks`.
// Cost     memory bound: 4 * vocab bytes a row.
// Needs    sm_80 or later.
// Trusts   the caller: 1 <= chunks <= 1024.
// Tested   emu/test_sampling.cpp, against f64; ties and NaN included.
#include "ptx.cuh"

namespace argmax_detail {

constexpr float LOG2_E = 1.4426950408889634f;

// A maximum, where it stands, and the sum of exponentials relative to it.
struct Best {
    float maximum, sum;
    u32 index;
};

constexpr u32 NO_INDEX = 0xffffffffu;

DEVICE Best merge(const Best& a, const Best& b) {
    bool take_b = b.maximum > a.maximum || (b.maximum == a.maximum && b.index < a.index);
    float maximum = take_b ? b.maximum : a.maximum;
    if (maximum == -INFINITY) return {maximum, 0.0f, take_b ? b.index : a.index};
    float sum = a.sum * exp2_fast((a.maximum - maximum) * LOG2_E) + b.sum * exp2_fast((b.maximum - maximum) * LOG2_E);
    return {maximum, sum, take_b ? b.index : a.index};
}

DEVICE Best merge_warp(Best best) {
#pragma unroll
    for (u32 flip = 16; flip; flip >>= 1) {
        Best other{__shfl_xor_sync(ALL_LANES, best.maximum, flip), __shfl_xor_sync(ALL_LANES, best.sum, flip), __shfl_xor_sync(ALL_LANES, best.index, flip)};
        // The lower lane stands first, so that both lanes round alike.
        best = threadIdx.x & flip ? merge(other, best) : merge(best, other);
    }
    return best;
}

DEVICE void consider(Best& best, float logit, u32 index) {
    if (logit > best.maximum) {
        best.sum = best.sum * exp2_fast((best.maximum - logit) * LOG2_E) + 1.0f;
        best.maximum = logit;
        best.index = index;
    } else if (logit > -INFINITY) {
        best.sum += exp2_fast((logit - best.maximum) * LOG2_E);
    }
}

}  // namespace argmax_detail

KERNEL(256, 1) argmax_partial(const float* logits, Float4* partial, u32 vocab, u32 chunks) {
    using namespace argmax_detail;
    SHARED_ARRAY(Best, warps, 8);
    let_next_kernel_start();
    wait_for_previous_kernel();
    const float* row = logits + static_cast<u64>(blockIdx.y) * vocab;
    u32 each = ceil_div(vocab, chunks), begin = smaller(blockIdx.x * each, vocab), end = smaller(begin + each, vocab);
    Best best{-INFINITY, 0.0f, NO_INDEX};
    constexpr u32 UNROLL = 8;
    u32 i = begin + threadIdx.x;
    for (; i + (UNROLL - 1) * 256 < end; i += UNROLL * 256) {
        float values[UNROLL];
#pragma unroll
        for (u32 j = 0; j < UNROLL; j++) values[j] = row[i + j * 256];
#pragma unroll
        for (u32 j = 0; j < UNROLL; j++) consider(best, values[j], i + j * 256);
    }
    for (; i < end; i += 256) consider(best, row[i], i);
    best = merge_warp(best);
    if (threadIdx.x % WARP == 0) warps[threadIdx.x / WARP] = best;
    __syncthreads();
    if (threadIdx.x != 0) return;
    for (u32 w = 1; w < 8; w++) best = merge(best, warps[w]);
    partial[static_cast<u64>(blockIdx.y) * chunks + blockIdx.x] = Float4{best.maximum, best.sum, bits_to_float(best.index), 0.0f};
}

KERNEL(32, 1) argmax_final(const Float4* partial, u32* token, float* logprob, u32 chunks) {
    using namespace argmax_detail;
    let_next_kernel_start();
    wait_for_previous_kernel();
    const Float4* row = partial + static_cast<u64>(blockIdx.x) * chunks;
    Best best{-INFINITY, 0.0f, NO_INDEX};
    for (u32 i = threadIdx.x; i < chunks; i += WARP) {
        Float4 part = row[i];
        best = merge(best, {part.x, part.y, float_to_bits(part.z)});
    }
    best = merge_warp(best);
    if (threadIdx.x != 0) return;
    // A row of nothing but NaN or minus infinity still names a token.
    token[blockIdx.x] = best.index == NO_INDEX ? 0 : best.index;
    logprob[blockIdx.x] = best.index == NO_INDEX ? -INFINITY : -logf(best.sum);
}
