// What every skinny product shares: how K is cut over the warps, the sum over them, and the epilogue.
//
// A CTA of eight warps owns ROW_TILES tiles of 16 weight rows and COL_TILES tiles of 8 activation rows. Each warp takes an eighth of
// K, so that a weight is read by one warp of one CTA, once. The eight partial sums are then added in warp order. Nothing of this
// depends on the number of activation rows: a row of the result has the same bits alone or among others.
//
// Inside a warp the order of K is permuted: lane t of a quad owns 8 consecutive elements (16 bytes) of every 32, and the tensor core
// gets them as its columns {2t, 2t + 1, 2t + 8, 2t + 9} twice. Both operands agree, so the sum is the same set of products, and
// each operand is read 16 bytes at a time with no transposition.
#pragma once
#include "activation.cuh"

constexpr u32 PRODUCT_WARPS = 8;
constexpr u32 PRODUCT_THREADS = PRODUCT_WARPS * WARP;

enum class Epilogue : u32 { Store = 0, AddToResidual = 1, StoreF32 = 2, SiluGate = 3, GeluGate = 4 };

DEVICE bool is_gated(u32 epilogue) { return epilogue >= static_cast<u32>(Epilogue::SiluGate); }

// The weight row that stands in row `r` (0..16) of tile `tile`. A gated tile holds eight gate rows and their eight up rows, so that
// both are in the same CTA.
DEVICE u32 weight_row(u32 tile, u32 r, u32 n, bool gated) {
    if (!gated) return tile * 16 + r;
    u32 pair = tile * 8 + r % 8;
    // A pair past the end must not fall into the up half.
    if (pair >= n / 2) return n;
    return r < 8 ? pair : n / 2 + pair;
}

// The steps of one warp's slice of K.
struct Slice {
    u32 first, count;
};

DEVICE Slice slice_of_warp(u32 num_steps, u32 warp) {
    u32 each = ceil_div(num_steps, PRODUCT_WARPS), first = smaller(warp * each, num_steps);
    return {first, smaller(each, num_steps - first)};
}

// Writes output `at` of `out`. `up` is the other half of a gated pair.
DEVICE void store_output(void* out, u32 epilogue, u64 at, float y, float up) {
    switch (static_cast<Epilogue>(epilogue)) {
        case Epilogue::Store: static_cast<bf16*>(out)[at] = narrow(y); break;
        case Epilogue::AddToResidual: static_cast<float*>(out)[at] += y; break;
        case Epilogue::StoreF32: static_cast<float*>(out)[at] = y; break;
        case Epilogue::SiluGate: static_cast<bf16*>(out)[at] = narrow(gate(Gate::Silu, y) * up); break;
        case Epilogue::GeluGate: static_cast<bf16*>(out)[at] = narrow(gate(Gate::GeluTanh, y) * up); break;
    }
}

// Adds the warps' partial tiles in warp order, scales row n by row_scales[n] where given, and writes the result to rows of out_stride.
// `room` is shared memory nobody reads any more, at least PRODUCT_WARPS * COL_TILES * 8 * (ROW_TILES * 16 + 4) floats.
template <u32 ROW_TILES, u32 COL_TILES>
DEVICE void reduce_and_store(float (&sums)[ROW_TILES][COL_TILES][4], float* room, const float* row_scales, const float* bias, void* out, u32 m, u32 n, u32 out_stride, u32 epilogue) {
    constexpr u32 ROWS = ROW_TILES * 16, PITCH = ROWS + 4, COLS = COL_TILES * 8;
    u32 lane = threadIdx.x % WARP, warp = threadIdx.x / WARP, g = lane / 4, t = lane % 4;
    __syncthreads();
#pragma unroll
    for (u32 r = 0; r < ROW_TILES; r++) {
#pragma unroll
        for (u32 c = 0; c < COL_TILES; c++) {
            float* tile = room + (warp * COLS + c * 8 + 2 * t) * PITCH + r * 16 + g;
            tile[0] = sums[r][c][0];
            tile[PITCH] = sums[r][c][1];
            tile[8] = sums[r][c][2];
            tile[PITCH + 8] = sums[r][c][3];
        }
    }
    __syncthreads();
    auto total = [&](u32 column, u32 row) {
        float sum = room[column * PITCH + row];
#pragma unroll
        for (u32 w = 1; w < PRODUCT_WARPS; w++) sum += room[(w * COLS + column) * PITCH + row];
        return sum;
    };
    bool gated = is_gated(epilogue);
    u32 outputs = gated ? ROWS / 2 : ROWS;
    for (u32 i = threadIdx.x; i < outputs * COLS; i += PRODUCT_THREADS) {
        u32 column = i / outputs, r = i % outputs, m_idx = blockIdx.y * COLS + column;
        u32 in_tile = gated ? r / 8 * 16 + r % 8 : r;
        u32 row = weight_row(blockIdx.x * ROW_TILES + in_tile / 16, in_tile % 16, n, gated);
        if (m_idx >= m || row >= n) continue;
        auto finished = [&](u32 place, u32 weight) {
            float sum = total(column, place);
            return (row_scales ? sum * row_scales[weight] : sum) + (bias ? bias[weight] : 0.0f);
        };
        float y = finished(in_tile, row), up = gated ? finished(in_tile + 8, n / 2 + row) : 0.0f;
        store_output(out, epilogue, static_cast<u64>(m_idx) * out_stride + row, y, up);
    }
}
