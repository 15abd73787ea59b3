// Products with many activation rows and quantised weights, which become bf16 in shared memory: no bf16 copy of the weights is needed.
//
//   y[m, n] = sum_k x[m, k] * w[n, k] (+ bias[n]), then the epilogue of `product.cuh`
//
//   x       [m, k]  bf16     k a multiple of 32
//   codes, scales, minima    planes, as `quantised.cuh` lays them out (`pack.cu` makes them)
//   bias    [n]     f32      or null
//   out     [m, out_stride] bf16 or f32: its first n columns, or n / 2 when gated
//
// Formats  those of `linear_quantised.cu`.
// Grid     (ceil(n / 128), ceil(m / 128)), 256 threads: `tile.cuh` says how the work is cut; warp i widens tile i of 16 weight rows.
// Shared   3 stages * (16 KiB + 8 tiles * up to 1280 bytes) and a plane of 16 KiB; ABI.md has the table. Two CTAs an SM.
// Numbers  a weight is rounded to bf16 once, as `dequantise_*` does: the bits of linear_tile_bf16 with those weights.
// Order    as `linear_tile.cu`.
// Cost     as `linear_tile.cu`, and about three instructions for each weight, 128 rows and 64 columns sharing them. Not timed on a GPU yet.
// Needs    sm_80 or later; shared memory as above.
// Trusts   kernels/src/ops/linear.rs.
// Tested   emu/test_quantised.cpp, against f64 over the packed values.
#include "quantised.cuh"
#include "tile.cuh"

namespace linear_tile_quantised_detail {

template <class F>
struct PackedWeights {
    static constexpr u32 PLANES = F::HAS_MINIMA ? 2 : 1, SCALES_BYTES = F::SCALE_BYTES * WARP;
    static constexpr u32 TILE_BYTES = F::TILE_CODE_BYTES + PLANES * SCALES_BYTES;
    static constexpr u32 STAGE_BYTES = tile::ROWS / 16 * TILE_BYTES;
    static constexpr bool UNPACKS = true;
    const u8 *codes, *scales, *minima;
    u32 n, k, w_tile;
    bool gated;

    DEVICE u32 tile_of_warp() const { return w_tile * (tile::ROWS / 16) + threadIdx.x / WARP; }
    DEVICE u8* stage_of_warp(u8* stage) const { return stage + threadIdx.x / WARP * TILE_BYTES; }
    DEVICE u8* scales_of_lane(u8* mine, u32 plane) const { return mine + F::TILE_CODE_BYTES + plane * SCALES_BYTES + threadIdx.x % WARP * F::SCALE_BYTES; }

    // Each warp copies the tile that it will widen, each lane its own part of it.
    DEVICE void load(u8* stage, u32 step) const {
        u32 lane = threadIdx.x % WARP, num_tiles = ceil_div(n, 16);
        bool valid = tile_of_warp() < num_tiles;
        u32 tile_idx = valid ? tile_of_warp() : 0;
        const u8* from = codes + code_offset<F>(tile_idx, step, ceil_div(k, QUANT_STEP));
        u8* mine = stage_of_warp(stage);
#pragma unroll
        for (u32 i = 0; i < F::CODE_PIECES; i++) copy_async_16(mine + (i * WARP + lane) * 16, from + (i * WARP + lane) * 16, valid);
        if constexpr (F::EXTRA_BYTES > 0) copy_async_small<F::EXTRA_BYTES>(mine + F::EXTRA_AT + lane * F::EXTRA_BYTES, from + F::EXTRA_AT + lane * F::EXTRA_BYTES, valid);
        if constexpr (F::SCALE_BYTES > 0) {
            u64 at = scale_offset<F>(tile_idx, step, k) + lane / 4 * F::SCALE_BYTES;
            copy_async_lane<F::SCALE_BYTES>(scales_of_lane(mine, 0), scales + at, valid);
            if constexpr (F::HAS_MINIMA) copy_async_lane<F::SCALE_BYTES>(scales_of_lane(mine, 1), minima + at, valid);
        }
    }

    // Scale of row g + 8 half in k16 step `s`.
    DEVICE float scale_of(u8* mine, u32 s, u32 half) const {
        if constexpr (F::GROUP == WHOLE_ROW) {
            u32 row = weight_row(tile_of_warp(), threadIdx.x % WARP / 4 + 8 * half, n, gated);
            return row < n ? reinterpret_cast<const float*>(scales)[row] : 0.0f;
        } else {
            return half_at(mine, 0, s, half);
        }
    }
    DEVICE float half_at(u8* mine, u32 plane, u32 s, u32 half) const {
        return widen(reinterpret_cast<const f16*>(scales_of_lane(mine, plane))[place_in_entry<F>(s * F::STEP_GROUPS / 4, half)]);
    }

    DEVICE u8* unpack(u8* stage, u8* plane) const {
        u32 lane = threadIdx.x % WARP, g = lane / 4, t = lane % 4;
        u8* mine = stage_of_warp(stage);
        Codes<F> held = read_codes<F>(mine, lane);
#pragma unroll
        for (u32 s = 0; s < 4; s++) {
            Fragment f = widen_step<F>(held, s);
            u32 column = owned_column<F>(s, t);
#pragma unroll
            for (u32 half = 0; half < 2; half++) {
                float scale = scale_of(mine, s, half), minimum = 0.0f;
                if constexpr (F::HAS_MINIMA) minimum = half_at(mine, 1, s, half);
                auto pair = [&](u32 word) { return pack_bf16(multiply_then_add(low_half(word), scale, minimum), multiply_then_add(high_half(word), scale, minimum)); };
                u8* to = tile::piece(plane, threadIdx.x / WARP * 16 + 8 * half + g, column / 8) + column % 8 * 2;
                *reinterpret_cast<TwoPairs*>(to) = TwoPairs{pair(f.a[half]), pair(f.a[half + 2])};
            }
        }
        return plane;
    }
};

}  // namespace linear_tile_quantised_detail

#define LINEAR_TILE(name, format)                                                                                                                            \
    KERNEL(256, 2) name(const bf16* x, const u8* codes, const u8* scales, const u8* minima, const float* bias, void* out, u32 m, u32 n, u32 k,              \
                        u32 out_stride, u32 epilogue) {                                                                                                      \
        tile::Place place = tile::place_of_block();                                                                                                          \
        linear_tile_quantised_detail::PackedWeights<format> weights{codes, scales, minima, n, k, place.w_tile, is_gated(epilogue)};                          \
        tile::product(place, weights, x, bias, out, m, n, k, out_stride, epilogue);                                                                          \
    }
LINEAR_TILE(linear_tile_q4g32, Q4G32)
LINEAR_TILE(linear_tile_q4g32z, Q4G32Min)
LINEAR_TILE(linear_tile_q4g128, Q4G128)
LINEAR_TILE(linear_tile_q4g128z, Q4G128Min)
LINEAR_TILE(linear_tile_q5g32, Q5G32)
LINEAR_TILE(linear_tile_q5g32z, Q5G32Min)
LINEAR_TILE(linear_tile_q6g16, Q6G16)
LINEAR_TILE(linear_tile_q8g32, Q8G32)
LINEAR_TILE(linear_tile_q8c, Q8Row)
LINEAR_TILE(linear_tile_f8c, F8Row)
