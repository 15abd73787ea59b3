// Adds a block's result to the residual stream and normalises the sum for the next block.
//
//   residual[t, :] += delta[t, :]                       (delta may be null)
//               or += delta[t, :] / sqrt(mean_h(delta[t, h]^2) + eps) * delta_weight[:]     (where delta_weight is given)
//   out[t, h] = residual[t, h] / sqrt(mean_h(residual[t, h]^2) + eps) * weight[h]
//
//   residual  [T, hidden]  f32     hidden a multiple of 8, at most 16384
//   delta     [T, hidden]  bf16
//   weight    [hidden]     f32     delta_weight alike, or null
//   out       [T, hidden]  bf16
//
// Grid     (T): one CTA a row; any whole number of warps, each thread with up to two runs of 8 elements in registers: 512 for hidden up to 8192.
// Shared   64 floats.
// Numbers  everything in f32, one rounding at the end. The residual stays f32 through all layers.
// Order    lanes, then warps, by fixed trees: a row's bits depend on that row alone.
// Cost     memory bound: 12 * hidden bytes a row with a delta, 6 * hidden without.
// Needs    sm_80 or later.
// Trusts   kernels/src/ops/add_rms_norm.rs.
// Tested   emu/test_rows.cpp, against f64: one bf16 step.
// Source   Zhang and Sennrich, "Root Mean Square Layer Normalization", 2019.
#include "ptx.cuh"
#include "reduce.cuh"

namespace add_rms_norm_detail {
constexpr u32 RUNS = 2;

DEVICE void widen_pairs(float (&to)[8], Vec16 pairs) {
    u32 words[4] = {pairs.x, pairs.y, pairs.z, pairs.w};
#pragma unroll
    for (u32 i = 0; i < 4; i++) {
        to[2 * i] = low_half(words[i]);
        to[2 * i + 1] = high_half(words[i]);
    }
}

DEVICE void read_eight(float (&to)[8], const float* from) {
    Float4 a = *reinterpret_cast<const Float4*>(from), b = *reinterpret_cast<const Float4*>(from + 4);
    to[0] = a.x, to[1] = a.y, to[2] = a.z, to[3] = a.w, to[4] = b.x, to[5] = b.y, to[6] = b.z, to[7] = b.w;
}

// The thread's part of a row of `delta`, through its own norm where there is one.
DEVICE void read_delta(float (&delta)[RUNS][8], const bf16* from, const float* delta_weight, float* scratch, u32 hidden, float eps) {
    float squares = 0.0f;
#pragma unroll
    for (u32 run = 0; run < RUNS; run++) {
        u32 at = (run * blockDim.x + threadIdx.x) * 8;
        if (at >= hidden) continue;
        widen_pairs(delta[run], *reinterpret_cast<const Vec16*>(from + at));
#pragma unroll
        for (u32 i = 0; i < 8; i++) squares += delta[run][i] * delta[run][i];
    }
    if (!delta_weight) return;
    float scale = reciprocal_root(block_sum(squares, scratch) / static_cast<float>(hidden) + eps);
#pragma unroll
    for (u32 run = 0; run < RUNS; run++) {
        u32 at = (run * blockDim.x + threadIdx.x) * 8;
        if (at >= hidden) continue;
        float w[8];
        read_eight(w, delta_weight + at);
#pragma unroll
        for (u32 i = 0; i < 8; i++) delta[run][i] *= scale * w[i];
    }
}
}  // namespace add_rms_norm_detail

KERNEL(1024, 1) add_rms_norm(float* residual, const bf16* delta, const float* delta_weight, const float* weight, bf16* out, u32 hidden, float eps) {
    using namespace add_rms_norm_detail;
    // The two sums have a scratch each, so that no barrier is needed between them.
    SHARED_ARRAY(float, scratch, 64);
    let_next_kernel_start();
    // A model's other weights have pushed these out of L2 since the step before.
#pragma unroll
    for (u32 run = 0; run < RUNS; run++) {
        u32 at = (run * blockDim.x + threadIdx.x) * 8;
        if (at >= hidden) continue;
        prefetch(weight + at);
        if (delta_weight) prefetch(delta_weight + at);
    }
    wait_for_previous_kernel();
    u64 row = static_cast<u64>(blockIdx.x) * hidden;
    float values[RUNS][8], added[RUNS][8], squares = 0.0f;
    // Before the delta is waited for, so that both are on their way at once.
#pragma unroll
    for (u32 run = 0; run < RUNS; run++) {
        u32 at = (run * blockDim.x + threadIdx.x) * 8;
        if (at < hidden) read_eight(values[run], residual + row + at);
    }
    if (delta) read_delta(added, delta + row, delta_weight, scratch + 32, hidden, eps);
#pragma unroll
    for (u32 run = 0; run < RUNS; run++) {
        u32 at = (run * blockDim.x + threadIdx.x) * 8;
        if (at >= hidden) continue;
        if (delta) {
            float* v = values[run];
#pragma unroll
            for (u32 i = 0; i < 8; i++) v[i] += added[run][i];
            *reinterpret_cast<Float4*>(residual + row + at) = Float4{v[0], v[1], v[2], v[3]};
            *reinterpret_cast<Float4*>(residual + row + at + 4) = Float4{v[4], v[5], v[6], v[7]};
        }
#pragma unroll
        for (u32 i = 0; i < 8; i++) squares += values[run][i] * values[run][i];
    }
    float scale = reciprocal_root(block_sum(squares, scratch) / static_cast<float>(hidden) + eps);
#pragma unroll
    for (u32 run = 0; run < RUNS; run++) {
        u32 at = (run * blockDim.x + threadIdx.x) * 8;
        if (at >= hidden) continue;
        float w[8], *v = values[run];
        read_eight(w, weight + at);
        *reinterpret_cast<Vec16*>(out + row + at) =
            Vec16{pack_bf16(v[0] * scale * w[0], v[1] * scale * w[1]), pack_bf16(v[2] * scale * w[2], v[3] * scale * w[3]),
                  pack_bf16(v[4] * scale * w[4], v[5] * scale * w[5]), pack_bf16(v[6] * scale * w[6], v[7] * scale * w[7])};
    }
}
