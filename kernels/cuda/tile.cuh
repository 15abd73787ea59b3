// Products of many activation rows: a CTA owns 128 of them and 128 weight rows, and walks along K.
//
// Eight warps, two by four, own 64 x 32 results each. Both operands go through shared memory in stages of 64 columns, copied two
// stages ahead; their 16-byte pieces are swizzled by row, so that neither the copies nor the tensor core's loads meet in a bank.
// Every sum runs over K in one ascending order, whatever the number of rows: a row of the result has the same bits alone or among
// others. (Not the bits of `product.cuh`, which cuts K in eight.)
//
// Blocks that run at the same time should read the same weights, as these are far more bytes than the activations: within groups of
// eight tiles of activation rows the tile of activation rows runs fastest, so that weights come from memory once for 1024 rows.
//
// Where the weights come from is a type: how many bytes of a stage it needs (STAGE_BYTES), how a stage is loaded, and how it becomes
// a plane of bf16 [128][64] for the tensor cores. Where that is work (UNPACKS), the plane lies behind the stages.
#pragma once
#include "product.cuh"

namespace tile {

constexpr u32 ROWS = 128;
constexpr u32 STEP = 64;
constexpr u32 STAGES = 3;
constexpr u32 THREADS = 256;
constexpr u32 PLANE_BYTES = ROWS * STEP * 2;
// Tiles of activation rows that share one reading of the weights.
constexpr u32 GROUP_TILES = 8;

// Which tile of activation rows and which of weight rows this block multiplies.
struct Place {
    u32 x_tile, w_tile;
};

// Blocks start in the order of their numbers, x first; the grid's extent in y need not be a multiple of a group.
DEVICE Place place_of_block() {
    u32 number = blockIdx.y * gridDim.x + blockIdx.x, first = blockIdx.y / GROUP_TILES * GROUP_TILES;
    u32 num_tiles = smaller(GROUP_TILES, gridDim.y - first), in_group = number - first * gridDim.x;
    // From the shuffle the compiler learns that all lanes agree, and spends no register of each lane on it.
    u32 w_tile = __shfl_sync(ALL_LANES, in_group / num_tiles, 0);
    return {first + in_group - w_tile * num_tiles, w_tile};
}

// Sixteen bytes of a plane [128][64] of bf16.
DEVICE u8* piece(u8* plane, u32 row, u32 index) { return plane + row * STEP * 2 + (index ^ (row & 7)) * 16; }

// Starts the copies of 64 columns from `column` on, of 128 rows; what is past the matrix's `limit` rows or k columns becomes zero.
template <class RowOf>
DEVICE void copy_rows(u8* plane, const bf16* from, u32 k, u32 column, u32 limit, RowOf row_of) {
    u32 index = threadIdx.x % 8, at = column + index * 8;
#pragma unroll
    for (u32 r = threadIdx.x / 8; r < ROWS; r += THREADS / 8) {
        u32 row = row_of(r);
        bool valid = row < limit && at < k;
        copy_async_16(piece(plane, r, index), from + (valid ? static_cast<u64>(row) * k + at : 0), valid);
    }
}

// Weights that are bf16 already.
struct DenseWeights {
    static constexpr u32 STAGE_BYTES = PLANE_BYTES;
    static constexpr bool UNPACKS = false;
    const bf16* w;
    u32 n, k, w_tile;
    bool gated;

    DEVICE void load(u8* stage, u32 step) const {
        copy_rows(stage, w, k, step * STEP, n, [&](u32 r) { return weight_row(w_tile * (ROWS / 16) + r / 16, r % 16, n, gated); });
    }
    DEVICE u8* unpack(u8* stage, u8*) const { return stage; }
};

// A warp's sums: [16 activation rows][8 weight rows][fragment].
using Sums = float[4][4][4];

// Adds the products of one stage.
DEVICE void multiply_stage(u8* x_plane, u8* w_plane, Sums& sums) {
    u32 lane = threadIdx.x % WARP, warp = threadIdx.x / WARP, first_x = warp / 4 * 64, first_w = warp % 4 * 32;
#pragma unroll
    for (u32 step = 0; step < STEP / 16; step++) {
        u32 x[4][4];
#pragma unroll
        for (u32 i = 0; i < 4; i++) load_tiles(x[i], piece(x_plane, first_x + 16 * i + lane % 16, 2 * step + lane / 16));
#pragma unroll
        for (u32 j = 0; j < 2; j++) {
            u32 w[4];
            load_tiles(w, piece(w_plane, first_w + 16 * j + lane / 16 * 8 + lane % 8, 2 * step + lane / 8 % 2));
#pragma unroll
            for (u32 i = 0; i < 4; i++) {
                multiply_16x8x16(sums[i][2 * j], x[i][0], x[i][1], x[i][2], x[i][3], w[0], w[1]);
                multiply_16x8x16(sums[i][2 * j + 1], x[i][0], x[i][1], x[i][2], x[i][3], w[2], w[3]);
            }
        }
    }
}

// Writes a warp's results. Of a gated tile of 16 weight rows the first eight are gates, the others what they let through.
DEVICE void store(Place place, const Sums& sums, const float* bias, void* out, u32 m, u32 n, u32 out_stride, u32 epilogue) {
    u32 lane = threadIdx.x % WARP, warp = threadIdx.x / WARP, g = lane / 4, t = lane % 4;
    bool gated = is_gated(epilogue);
    auto with_bias = [&](float sum, u32 row) { return sum + (bias ? bias[row] : 0.0f); };
#pragma unroll
    for (u32 i = 0; i < 4; i++) {
#pragma unroll
        for (u32 c = 0; c < 4; c++) {
            u32 m_idx = place.x_tile * ROWS + warp / 4 * 64 + 16 * i + g + c / 2 * 8;
            if (m_idx >= m) continue;
            u64 begin = static_cast<u64>(m_idx) * out_stride;
#pragma unroll
            for (u32 j = 0; j < 2; j++) {
                u32 in_tile = 2 * t + c % 2, tile_idx = place.w_tile * (ROWS / 16) + warp % 4 * 2 + j;
                u32 row = weight_row(tile_idx, in_tile, n, gated), other = weight_row(tile_idx, in_tile + 8, n, gated);
                float first = sums[i][2 * j][c], second = sums[i][2 * j + 1][c];
                if (gated) {
                    if (row < n) store_output(out, epilogue, begin + row, with_bias(first, row), with_bias(second, other));
                } else {
                    if (row < n) store_output(out, epilogue, begin + row, with_bias(first, row), 0.0f);
                    if (other < n) store_output(out, epilogue, begin + other, with_bias(second, other), 0.0f);
                }
            }
        }
    }
}

template <class Weights>
DEVICE void product(Place place, const Weights& weights, const bf16* x, const float* bias, void* out, u32 m, u32 n, u32 k, u32 out_stride, u32 epilogue) {
    constexpr u32 STAGE_BYTES = PLANE_BYTES + Weights::STAGE_BYTES;
    SHARED_DYNAMIC(shared);
    u8* unpacked = shared + STAGES * STAGE_BYTES;
    u32 num_steps = ceil_div(k, STEP);
    auto x_stage = [&](u32 step) { return shared + step % STAGES * STAGE_BYTES; };
    auto w_stage = [&](u32 step) { return x_stage(step) + PLANE_BYTES; };
    auto load_x = [&](u32 step) { copy_rows(x_stage(step), x, k, step * STEP, m, [&](u32 r) { return place.x_tile * ROWS + r; }); };

    let_next_kernel_start();
#pragma unroll
    for (u32 step = 0; step < STAGES - 1; step++)
        if (step < num_steps) weights.load(w_stage(step), step);
    wait_for_previous_kernel();
#pragma unroll
    for (u32 step = 0; step < STAGES - 1; step++) {
        if (step < num_steps) load_x(step);
        copy_async_commit();
    }
    Sums sums = {};
    for (u32 step = 0; step < num_steps; step++) {
        copy_async_wait<STAGES - 2>();
        // Everyone's copies of this step are there, and everyone is done with the stage that is loaded next.
        __syncthreads();
        u32 ahead = step + STAGES - 1;
        if (ahead < num_steps) {
            weights.load(w_stage(ahead), ahead);
            load_x(ahead);
        }
        copy_async_commit();
        u8* w_plane = weights.unpack(w_stage(step), unpacked);
        if (Weights::UNPACKS) __syncthreads();
        multiply_stage(x_stage(step), w_plane, sums);
    }
    copy_async_wait<0>();
    store(place, sums, bias, out, m, n, out_stride, epilogue);
}

}  // namespace tile
