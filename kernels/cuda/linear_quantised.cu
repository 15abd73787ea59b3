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
// Grid     (ceil(n / 32), ceil(m / (8 COL_TILES))), 256 threads: `product.cuh` says how the work is cut. Where these are few for
//          the device there is `_m8_r16`: 16 weight rows a block, (ceil(n / 16), ceil(m / 8)).
// Shared   8 warps * STAGES * stage bytes; ABI.md has the table. As in `linear_skinny.cu` the ring needs no barrier.
// Numbers  a code is exact in bf16; products are summed in f32 over one group, then scaled in f32. With minima, and with groups of
//          128, the sum of the activations comes from the tensor cores too, as a product with ones, and takes back what codes stand too high.
// Order    as `linear_skinny.cu`: same bits for a row whatever m and the variant.
// Cost     memory bound: (bits + 16 / group) / 8 bytes a weight. A warp's turn of 32 rows and 64 columns takes 165 instructions
//          at q4g128_m8, 181 at q8c_m8, about a third of them copies and addresses. Not timed on a GPU yet.
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

// The two words of activations that stand against a fragment of k16 step `step`.
struct Pairs {
    u32 b0, b1;
};

DEVICE Pairs pairs_of(const Vec16& v, u32 step) { return step % 2 ? Pairs{v.z, v.w} : Pairs{v.x, v.y}; }

// Products of one tile and `from..to` of its four k16 steps.
template <class F, u32 COL_TILES>
DEVICE void multiply_group(const Codes<F>& codes, const Vec16 (&x)[PIECES][COL_TILES], u32 from, u32 to, float (&part)[COL_TILES][4]) {
#pragma unroll
    for (u32 step = 0; step < 4; step++) {
        if (step < from || step >= to) continue;
        Fragment w;
        if constexpr (F::STAYS_RAISED)
            w = raise_short_codes<F>(codes, step);
        else
            w = widen_step<F>(codes, step);
#pragma unroll
        for (u32 c = 0; c < COL_TILES; c++) {
            Pairs v = pairs_of(x[step / 2][c], step);
            multiply_16x8x16(part[c], w.a[0], w.a[1], w.a[2], w.a[3], v.b0, v.b1);
        }
    }
}

// Sums of the activations over the same steps, as products with ones: the same in all rows of the result.
template <u32 COL_TILES>
DEVICE void add_up_group(const Vec16 (&x)[PIECES][COL_TILES], u32 from, u32 to, float (&ones)[COL_TILES][4]) {
#pragma unroll
    for (u32 step = 0; step < 4; step++) {
        if (step < from || step >= to) continue;
#pragma unroll
        for (u32 c = 0; c < COL_TILES; c++) {
            Pairs v = pairs_of(x[step / 2][c], step);
            multiply_16x8x16(ones[c], BF16_ONES, BF16_ONES, BF16_ONES, BF16_ONES, v.b0, v.b1);
        }
    }
}

// Adds one group of row tile `r`: its products by their scales, and the sums of its activations by what is the same for all codes.
template <class F, u32 ROW_TILES, u32 COL_TILES>
DEVICE void add_scaled(const Stage<F, ROW_TILES, COL_TILES>& stage, u32 r, u32 group, const float (&part)[COL_TILES][4], const float (&ones)[COL_TILES][4], float (&sums)[COL_TILES][4]) {
#pragma unroll
    for (u32 half = 0; half < 2; half++) {
        float scale = scale_at<F>(stage.scales(r, 0), group, half), constant = 0.0f;
        // The offset times a half is exact.
        if constexpr (F::STAYS_RAISED) constant = (F::HAS_MINIMA ? scale_at<F>(stage.scales(r, 1), group, half) : 0.0f) - RAISED_BY<F> * scale;
#pragma unroll
        for (u32 i = 2 * half; i < 2 * half + 2; i++) {
#pragma unroll
            for (u32 c = 0; c < COL_TILES; c++) {
                sums[c][i] += scale * part[c][i];
                if constexpr (F::STAYS_RAISED) sums[c][i] += constant * ones[c][i % 2];
            }
        }
    }
}

template <class F, u32 ROW_TILES, u32 COL_TILES>
DEVICE void multiply_stage(const Stage<F, ROW_TILES, COL_TILES>& stage, float (&sums)[ROW_TILES][COL_TILES][4]) {
    // Groups of 16 and 32 are scaled as often as a step has them; longer ones once, which is the same sum.
    constexpr u32 PARTS = F::STEP_GROUPS, STEPS = 4 / PARTS;
    Vec16 x[PIECES][COL_TILES];
#pragma unroll
    for (u32 piece = 0; piece < PIECES; piece++) {
#pragma unroll
        for (u32 c = 0; c < COL_TILES; c++) x[piece][c] = *reinterpret_cast<const Vec16*>(stage.activation(c, piece));
    }
    float ones[PARTS][COL_TILES][4] = {};
    if constexpr (F::STAYS_RAISED) {
#pragma unroll
        for (u32 group = 0; group < PARTS; group++) add_up_group<COL_TILES>(x, STEPS * group, STEPS * (group + 1), ones[group]);
    }
#pragma unroll
    for (u32 r = 0; r < ROW_TILES; r++) {
        Codes<F> codes = stage.codes_of(r);
        if constexpr (F::GROUP == WHOLE_ROW) {
            multiply_group<F, COL_TILES>(codes, x, 0, 4, sums[r]);
        } else {
#pragma unroll
            for (u32 group = 0; group < PARTS; group++) {
                float part[COL_TILES][4] = {};
                multiply_group<F, COL_TILES>(codes, x, STEPS * group, STEPS * (group + 1), part);
                add_scaled<F, ROW_TILES, COL_TILES>(stage, r, group, part, ones[group], sums[r]);
            }
        }
    }
}

// Where a lane's next copies come from. Pointers walk along K: what the loop changes the compiler cannot compute anew in every turn.
template <class F, u32 ROW_TILES, u32 COL_TILES>
struct Sources {
    // A k16 step of groups of 16 is 8 bytes of a lane's own; else two steps are 16 in one piece.
    static constexpr u32 RUNS = F::GROUP == 16 ? 2 : 1, RUN_BYTES = 16 / RUNS;
    using StageOf = Stage<F, ROW_TILES, COL_TILES>;

    const u8 *codes[ROW_TILES], *extra[ROW_TILES], *scales[ROW_TILES], *minima[ROW_TILES];
    const bf16* x[COL_TILES];
    bool has_tile[ROW_TILES], has_row[COL_TILES];
    u32 k;

    // At the 64 columns `step`.
    DEVICE Sources(const bf16* all_x, const u8* all_codes, const u8* all_scales, const u8* all_minima, u32 m, u32 n, u32 k, u32 step) : k(k) {
        u32 lane = threadIdx.x % WARP, g = lane / 4, t = lane % 4;
#pragma unroll
        for (u32 r = 0; r < ROW_TILES; r++) {
            u32 tile = blockIdx.x * ROW_TILES + r;
            has_tile[r] = tile < ceil_div(n, 16);
            tile = has_tile[r] ? tile : 0;
            const u8* of_tile = all_codes + code_offset<F>(tile, step, ceil_div(k, QUANT_STEP));
            codes[r] = of_tile + lane * 16;
            extra[r] = of_tile + F::EXTRA_AT + lane * F::EXTRA_BYTES;
            u64 scales_at = scale_offset<F>(tile, step, k) + g * F::SCALE_BYTES;
            scales[r] = all_scales + scales_at;
            minima[r] = F::HAS_MINIMA ? all_minima + scales_at : nullptr;
        }
#pragma unroll
        for (u32 c = 0; c < COL_TILES; c++) {
            u32 row = (blockIdx.y * COL_TILES + c) * 8 + g;
            has_row[c] = row < m;
            x[c] = all_x + (has_row[c] ? static_cast<u64>(row) * k : 0) + step * QUANT_STEP + owned_column<F>(0, t);
        }
    }

    // Starts the copies of the weights of the 64 columns `step`, which is the next.
    DEVICE void load_weights(const StageOf& stage, u32 step) {
        constexpr u32 SPAN_STEPS = F::SCALE_SPAN / QUANT_STEP;
        u32 scales_step = (step + 1) % SPAN_STEPS == 0 ? 8 * F::SCALE_BYTES : 0;
#pragma unroll
        for (u32 r = 0; r < ROW_TILES; r++) {
#pragma unroll
            for (u32 piece = 0; piece < F::CODE_PIECES; piece++) copy_async_16(stage.codes(r, piece), codes[r] + piece * WARP * 16, has_tile[r]);
            codes[r] += F::TILE_CODE_BYTES;
            if constexpr (F::EXTRA_BYTES > 0) {
                copy_async_small<F::EXTRA_BYTES>(stage.extra(r), extra[r], has_tile[r]);
                extra[r] += F::TILE_CODE_BYTES;
            }
            if constexpr (F::SCALE_BYTES > 0) {
                copy_async_lane<F::SCALE_BYTES>(stage.scales(r, 0), scales[r], has_tile[r]);
                scales[r] += scales_step;
            }
            if constexpr (F::HAS_MINIMA) {
                copy_async_lane<F::SCALE_BYTES>(stage.scales(r, 1), minima[r], has_tile[r]);
                minima[r] += scales_step;
            }
        }
    }

    // Starts the copies of the activations of the same columns. As k is a multiple of 32, no more than the second half can be missing.
    DEVICE void load_activations(const StageOf& stage, u32 step) {
        bool has_second = step * QUANT_STEP + 32 < k;
#pragma unroll
        for (u32 c = 0; c < COL_TILES; c++) {
            const bf16* second = x[c] + (has_second ? 32 : 0);
#pragma unroll
            for (u32 i = 0; i < RUNS; i++) {
                copy_async_lane<RUN_BYTES>(stage.activation(c, 0) + i * RUN_BYTES, x[c] + i * 16, has_row[c]);
                copy_async_lane<RUN_BYTES>(stage.activation(c, 1) + i * RUN_BYTES, second + i * 16, has_second && has_row[c]);
            }
            x[c] += QUANT_STEP;
        }
    }
};

template <class F, u32 ROW_TILES, u32 COL_TILES, u32 STAGES>
DEVICE void product(const bf16* x, const u8* codes, const u8* scales, const u8* minima, const float* bias, void* out, u32 m, u32 n, u32 k, u32 out_stride, u32 epilogue) {
    using StageOf = Stage<F, ROW_TILES, COL_TILES>;
    SHARED_DYNAMIC(shared);
    u32 lane = threadIdx.x % WARP, warp = threadIdx.x / WARP;
    Slice slice = slice_of_warp(ceil_div(k, QUANT_STEP), warp);
    u8* ring = shared + warp * STAGES * StageOf::BYTES;
    auto stage_of = [&](u32 index) { return StageOf{ring + index * StageOf::BYTES, lane}; };
    Sources<F, ROW_TILES, COL_TILES> from(x, codes, scales, minima, m, n, k, slice.first);

    let_next_kernel_start();
#pragma unroll
    for (u32 index = 0; index < STAGES; index++)
        if (index < slice.count) from.load_weights(stage_of(index), slice.first + index);
    wait_for_previous_kernel();
#pragma unroll
    for (u32 index = 0; index < STAGES; index++) {
        if (index < slice.count) from.load_activations(stage_of(index), slice.first + index);
        copy_async_commit();
    }
    float sums[ROW_TILES][COL_TILES][4] = {};
    for (u32 step = 0, index = 0; step < slice.count; step++, index = index + 1 == STAGES ? 0 : index + 1) {
        copy_async_wait<STAGES - 1>();
        multiply_stage(stage_of(index), sums);
        if (step + STAGES < slice.count) {
            from.load_weights(stage_of(index), slice.first + step + STAGES);
            from.load_activations(stage_of(index), slice.first + step + STAGES);
        }
        copy_async_commit();
    }
    copy_async_wait<0>();
    const float* row_scales = F::GROUP == WHOLE_ROW ? reinterpret_cast<const float*>(scales) : nullptr;
    reduce_and_store(sums, reinterpret_cast<float*>(shared), row_scales, bias, out, m, n, out_stride, epilogue);
}

}  // namespace linear_quantised_detail

#define LINEAR_QUANTISED(name, format, row_tiles, col_tiles, stages, blocks)                                                                                      \
    KERNEL(PRODUCT_THREADS, blocks) name(const bf16* x, const u8* codes, const u8* scales, const u8* minima, const float* bias, void* out, u32 m, u32 n, u32 k,   \
                                         u32 out_stride, u32 epilogue) {                                                                                           \
        linear_quantised_detail::product<format, row_tiles, col_tiles, stages>(x, codes, scales, minima, bias, out, m, n, k, out_stride, epilogue);               \
    }
#define LINEAR_QUANTISED_ALL(name, format)                   \
    LINEAR_QUANTISED(name##_m8_r16, format, 1, 1, 4, 3)      \
    LINEAR_QUANTISED(name##_m8, format, 2, 1, 4, 2)          \
    LINEAR_QUANTISED(name##_m16, format, 2, 2, 4, 2)         \
    LINEAR_QUANTISED(name##_m32, format, 2, 4, 4, 1)
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
