// Skinny products with quantised weights: codes stream from memory, become bf16 in registers, exactly, and go to the tensor cores.
//
//   y[m, n] = sum_k x[m, k] * w[n, k] (+ bias[n]), then the epilogue of `product.cuh`
//
//   x       [m, k]  bf16     k a multiple of 32
//   codes, scales, minima    planes, as `quantised.cuh` lays them out (`pack.cu` makes them)
//   bias    [n]     f32      or null
//   out     [m, out_stride] bf16 or f32: its first n columns, or n / 2 when gated
//
// Formats  q4g32 (GGUF Q4_0), q4g32z (Q4_1, Q4_K), q4g128, q4g128z (AWQ, GPTQ), q5g32 (Q5_0), q5g32z (Q5_1, Q5_K), q6g16 (Q6_K),
//          q8g32 (Q8_0), q8c (one scale a row), f8c (e4m3, one scale a row).
// Grid     (ceil(n / 32), ceil(m / (8 COL_TILES))), 256 threads: `product.cuh` says how the work is cut.
// Shared   8 warps * STAGES * stage bytes; ABI.md has the table. As in `linear_skinny.cu` the ring needs no barrier.
// Numbers  a code is exact in bf16; products are summed in f32 over one group, then scaled in f32. With minima the sum of the
//          activations comes from the tensor cores too, as a product with ones.
// Order    as `linear_skinny.cu`: same bits for a row whatever m and the variant.
// Cost     memory bound: (bits + 16 / group) / 8 bytes a weight. Widening takes 1.4 instructions a 4-bit weight, 1.75 an 8-bit one.
//          Not timed on a GPU yet.
// Needs    sm_80 or later.
// Trusts   kernels/src/ops/linear.rs.
// Tested   emu/test_quantised.cpp, against f64 over the packed values.
#include "quantised.cuh"

namespace linear_quantised_detail {

constexpr u32 PIECES = QUANT_STEP / 32;
constexpr u32 BF16_ONES = 0x3f803f80u;

template <class F, u32 ROW_TILES, u32 COL_TILES>
struct Stage {
    static constexpr u32 PLANE_BYTES = F::SCALE_BYTES * WARP;
    static constexpr u32 TILE_BYTES = F::TILE_CODE_BYTES + PLANE_BYTES * (F::HAS_MINIMA ? 2 : 1);
    static constexpr u32 BYTES = ROW_TILES * TILE_BYTES + COL_TILES * PIECES * WARP * 16;

    u8* base;
    u32 lane;

    DEVICE u8* codes(u32 row_tile, u32 piece) const { return base + row_tile * TILE_BYTES + (piece * WARP + lane) * 16; }
    DEVICE u8* extra(u32 row_tile) const { return base + row_tile * TILE_BYTES + F::EXTRA_AT + lane * F::EXTRA_BYTES; }
    DEVICE u8* scales(u32 row_tile, u32 plane) const { return base + row_tile * TILE_BYTES + F::TILE_CODE_BYTES + plane * PLANE_BYTES + lane * F::SCALE_BYTES; }
    DEVICE u8* activation(u32 col_tile, u32 piece) const { return base + ROW_TILES * TILE_BYTES + ((col_tile * PIECES + piece) * WARP + lane) * 16; }

    DEVICE Codes<F> codes_of(u32 row_tile) const { return read_codes<F>(base + row_tile * TILE_BYTES, lane); }
};

// Scale of row g (half 0) or g + 8 (half 1) for group `group` of this step.
template <class F>
DEVICE float scale_at(const u8* plane, u32 group, u32 half) {
    return widen(reinterpret_cast<const f16*>(plane)[place_in_entry<F>(group, half)]);
}

// Products of one tile and `FROM..TO` of its four k16 steps, into fresh sums; with minima also the sums of the activations.
template <class F, u32 COL_TILES>
DEVICE void multiply_group(const Codes<F>& codes, const Vec16 (&x)[PIECES][COL_TILES], u32 from, u32 to, float (&part)[COL_TILES][4], float (&ones)[COL_TILES][4]) {
#pragma unroll
    for (u32 step = 0; step < 4; step++) {
        if (step < from || step >= to) continue;
        Fragment w = widen_step<F>(codes, step);
#pragma unroll
        for (u32 c = 0; c < COL_TILES; c++) {
            const Vec16& v = x[step / 2][c];
            u32 b0 = step % 2 ? v.z : v.x, b1 = step % 2 ? v.w : v.y;
            multiply_16x8x16(part[c], w.a[0], w.a[1], w.a[2], w.a[3], b0, b1);
            if constexpr (F::HAS_MINIMA) multiply_16x8x16(ones[c], BF16_ONES, BF16_ONES, BF16_ONES, BF16_ONES, b0, b1);
        }
    }
}

template <class F, u32 ROW_TILES, u32 COL_TILES>
DEVICE void multiply_stage(const Stage<F, ROW_TILES, COL_TILES>& stage, float (&sums)[ROW_TILES][COL_TILES][4]) {
    // Groups of 16 and 32 are scaled as often as a step has them; longer ones once, which is the same sum.
    constexpr u32 PARTS = F::STEP_GROUPS;
    Vec16 x[PIECES][COL_TILES];
#pragma unroll
    for (u32 piece = 0; piece < PIECES; piece++) {
#pragma unroll
        for (u32 c = 0; c < COL_TILES; c++) x[piece][c] = *reinterpret_cast<const Vec16*>(stage.activation(c, piece));
    }
#pragma unroll
    for (u32 r = 0; r < ROW_TILES; r++) {
        Codes<F> codes = stage.codes_of(r);
        if constexpr (F::GROUP == WHOLE_ROW) {
            float unused[COL_TILES][4];
            multiply_group<F, COL_TILES>(codes, x, 0, 4, sums[r], unused);
        } else {
#pragma unroll
            for (u32 part_idx = 0; part_idx < PARTS; part_idx++) {
                float part[COL_TILES][4] = {}, ones[COL_TILES][4] = {};
                multiply_group<F, COL_TILES>(codes, x, 4 / PARTS * part_idx, 4 / PARTS * (part_idx + 1), part, ones);
#pragma unroll
                for (u32 i = 0; i < 4; i++) {
                    float scale = scale_at<F>(stage.scales(r, 0), part_idx, i / 2);
                    float minimum = F::HAS_MINIMA ? scale_at<F>(stage.scales(r, 1), part_idx, i / 2) : 0.0f;
#pragma unroll
                    for (u32 c = 0; c < COL_TILES; c++) {
                        sums[r][c][i] += scale * part[c][i];
                        if constexpr (F::HAS_MINIMA) sums[r][c][i] += minimum * ones[c][i];
                    }
                }
            }
        }
    }
}

template <class F, u32 ROW_TILES, u32 COL_TILES, u32 STAGES>
DEVICE void product(const bf16* x, const u8* codes, const u8* scales, const u8* minima, const float* bias, void* out, u32 m, u32 n, u32 k, u32 out_stride, u32 epilogue) {
    using StageOf = Stage<F, ROW_TILES, COL_TILES>;
    SHARED_DYNAMIC(shared);
    u32 lane = threadIdx.x % WARP, warp = threadIdx.x / WARP, g = lane / 4, t = lane % 4;
    u32 num_steps = ceil_div(k, QUANT_STEP), num_tiles = ceil_div(n, 16);
    Slice slice = slice_of_warp(num_steps, warp);
    u8* ring = shared + warp * STAGES * StageOf::BYTES;
    auto stage_of = [&](u32 index) { return StageOf{ring + index * StageOf::BYTES, lane}; };

    auto load_weights = [&](u32 step, u32 index) {
        StageOf stage = stage_of(index);
#pragma unroll
        for (u32 r = 0; r < ROW_TILES; r++) {
            u32 tile = blockIdx.x * ROW_TILES + r;
            bool valid = tile < num_tiles;
            tile = valid ? tile : 0;
            const u8* from = codes + code_offset<F>(tile, slice.first + step, num_steps);
#pragma unroll
            for (u32 piece = 0; piece < F::CODE_PIECES; piece++) copy_async_16(stage.codes(r, piece), from + (piece * WARP + lane) * 16, valid);
            if constexpr (F::EXTRA_BYTES > 0) copy_async_small<F::EXTRA_BYTES>(stage.extra(r), from + F::EXTRA_AT + lane * F::EXTRA_BYTES, valid);
            if constexpr (F::SCALE_BYTES > 0) {
                u64 at = scale_offset<F>(tile, slice.first + step, k) + g * F::SCALE_BYTES;
                copy_async_lane<F::SCALE_BYTES>(stage.scales(r, 0), scales + at, valid);
                if constexpr (F::HAS_MINIMA) copy_async_lane<F::SCALE_BYTES>(stage.scales(r, 1), minima + at, valid);
            }
        }
    };
    // A k16 step of groups of 16 is 8 bytes of a lane's own; else two steps are 16 in one piece.
    constexpr u32 RUNS = F::GROUP == 16 ? 2 : 1, RUN_BYTES = 16 / RUNS;
    auto load_activations = [&](u32 step, u32 index) {
        StageOf stage = stage_of(index);
#pragma unroll
        for (u32 i = 0; i < PIECES * RUNS; i++) {
            u32 piece = i / RUNS, at = (slice.first + step) * QUANT_STEP + owned_column<F>(i * (2 / RUNS), t);
#pragma unroll
            for (u32 c = 0; c < COL_TILES; c++) {
                u32 row = (blockIdx.y * COL_TILES + c) * 8 + g;
                bool valid = row < m && at < k;
                copy_async_lane<RUN_BYTES>(stage.activation(c, piece) + i % RUNS * RUN_BYTES, x + (valid ? static_cast<u64>(row) * k + at : 0), valid);
            }
        }
    };

    let_next_kernel_start();
#pragma unroll
    for (u32 index = 0; index < STAGES; index++)
        if (index < slice.count) load_weights(index, index);
    wait_for_previous_kernel();
#pragma unroll
    for (u32 index = 0; index < STAGES; index++) {
        if (index < slice.count) load_activations(index, index);
        copy_async_commit();
    }
    float sums[ROW_TILES][COL_TILES][4] = {};
    for (u32 step = 0, index = 0; step < slice.count; step++, index = index + 1 == STAGES ? 0 : index + 1) {
        copy_async_wait<STAGES - 1>();
        multiply_stage(stage_of(index), sums);
        if (step + STAGES < slice.count) {
            load_weights(step + STAGES, index);
            load_activations(step + STAGES, index);
        }
        copy_async_commit();
    }
    copy_async_wait<0>();
    const float* row_scales = F::GROUP == WHOLE_ROW ? reinterpret_cast<const float*>(scales) : nullptr;
    reduce_and_store(sums, reinterpret_cast<float*>(shared), row_scales, bias, out, m, n, out_stride, epilogue);
}

}  // namespace linear_quantised_detail

#define LINEAR_QUANTISED(name, format, col_tiles, stages, blocks)                                                                                                 \
    KERNEL(PRODUCT_THREADS, blocks) name(const bf16* x, const u8* codes, const u8* scales, const u8* minima, const float* bias, void* out, u32 m, u32 n, u32 k,   \
                                         u32 out_stride, u32 epilogue) {                                                                                           \
        linear_quantised_detail::product<format, 2, col_tiles, stages>(x, codes, scales, minima, bias, out, m, n, k, out_stride, epilogue);                       \
    }
#define LINEAR_QUANTISED_ALL(name, format)                \
    LINEAR_QUANTISED(name##_m8, format, 1, 4, 2)          \
    LINEAR_QUANTISED(name##_m16, format, 2, 4, 2)         \
    LINEAR_QUANTISED(name##_m32, format, 4, 4, 1)
LINEAR_QUANTISED_ALL(linear_skinny_q4g32, Q4G32)
LINEAR_QUANTISED_ALL(linear_skinny_q4g32z, Q4G32Min)
LINEAR_QUANTISED_ALL(linear_skinny_q4g128, Q4G128)
LINEAR_QUANTISED_ALL(linear_skinny_q4g128z, Q4G128Min)
LINEAR_QUANTISED_ALL(linear_skinny_q5g32, Q5G32)
LINEAR_QUANTISED_ALL(linear_skinny_q5g32z, Q5G32Min)
LINEAR_QUANTISED_ALL(linear_skinny_q6g16, Q6G16)
LINEAR_QUANTISED_ALL(linear_skinny_q8g32, Q8G32)
LINEAR_QUANTISED_ALL(linear_skinny_q8c, Q8Row)
LINEAR_QUANTISED_ALL(linear_skinny_f8c, F8Row)
