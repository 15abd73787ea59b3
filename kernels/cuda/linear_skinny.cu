// Products with few activation rows: every weight streams through the chip once, 16 bytes at a time.
//
//   y[m, n] = sum_k x[m, k] * w[n, k] (+ bias[n]), then the epilogue of `product.cuh`
//
//   x     [m, k]  bf16    k a multiple of 8
//   w     [n, k]  bf16    as in the checkpoint
//   bias  [n]     f32     or null
//   out   [m, out_stride] bf16 or f32: its first n columns, or n / 2 when gated
//
// Grid     (ceil(n / (16 ROW_TILES)), ceil(m / (8 COL_TILES))), 256 threads: `product.cuh` says how the work is cut.
// Shared   8 warps * STAGES * (2048 ROW_TILES + 1024 COL_TILES) bytes: 96 KiB for m8 (two CTAs an SM), 192 KiB for the others. Each
//          lane copies what it will itself use (cp.async), so the ring needs no barrier: it is a register file 64 KiB deep.
// Numbers  bf16 products, f32 sums on the tensor cores, one rounding (none for f32 outputs).
// Order    K in eight slices, each ascending, added in slice order, whatever m and whatever the variant: same bits.
// Cost     memory bound: 2 n k bytes. Bytes in flight per SM: 2 CTAs * 8 warps * 4 stages * 2 KiB = 128 KiB (m8), where 3.3 TB/s at
//          1 us of latency over 132 SMs asks for 25 KiB. Not timed on a GPU yet. The first weights are asked for before the previous
//          kernel ends.
// Needs    sm_80 or later; shared memory as above.
// Trusts   kernels/src/ops/linear.rs.
// Tested   emu/test_linear.cpp, against f64, and for equal bits across variants.
#include "product.cuh"

namespace linear_skinny_detail {

// K elements a warp takes in one stage: two 16-byte pieces for each lane and row.
constexpr u32 STEP = 64;
constexpr u32 PIECES = STEP / 32;

template <u32 ROW_TILES, u32 COL_TILES, u32 STAGES>
struct Ring {
    static constexpr u32 WEIGHT_BYTES = ROW_TILES * 2 * PIECES * WARP * 16;
    static constexpr u32 STAGE_BYTES = WEIGHT_BYTES + COL_TILES * PIECES * WARP * 16;
    static constexpr u32 WARP_BYTES = STAGES * STAGE_BYTES;

    u8* lane_base;

    DEVICE Ring(u8* shared) : lane_base(shared + threadIdx.x / WARP * WARP_BYTES + threadIdx.x % WARP * 16) {}
    DEVICE Vec16* weight(u32 stage, u32 row_tile, u32 upper, u32 piece) const {
        return reinterpret_cast<Vec16*>(lane_base + stage * STAGE_BYTES + ((row_tile * 2 + upper) * PIECES + piece) * WARP * 16);
    }
    DEVICE Vec16* activation(u32 stage, u32 col_tile, u32 piece) const {
        return reinterpret_cast<Vec16*>(lane_base + stage * STAGE_BYTES + WEIGHT_BYTES + (col_tile * PIECES + piece) * WARP * 16);
    }
};

// One stage's products: two k16 steps for each 16-byte piece.
template <u32 ROW_TILES, u32 COL_TILES, u32 STAGES>
DEVICE void multiply_stage(const Ring<ROW_TILES, COL_TILES, STAGES>& ring, u32 stage, float (&sums)[ROW_TILES][COL_TILES][4]) {
#pragma unroll
    for (u32 piece = 0; piece < PIECES; piece++) {
        Vec16 x[COL_TILES];
#pragma unroll
        for (u32 c = 0; c < COL_TILES; c++) x[c] = *ring.activation(stage, c, piece);
#pragma unroll
        for (u32 r = 0; r < ROW_TILES; r++) {
            Vec16 low = *ring.weight(stage, r, 0, piece), high = *ring.weight(stage, r, 1, piece);
#pragma unroll
            for (u32 c = 0; c < COL_TILES; c++) {
                multiply_16x8x16(sums[r][c], low.x, high.x, low.y, high.y, x[c].x, x[c].y);
                multiply_16x8x16(sums[r][c], low.z, high.z, low.w, high.w, x[c].z, x[c].w);
            }
        }
    }
}

template <u32 ROW_TILES, u32 COL_TILES, u32 STAGES>
DEVICE void product(const bf16* x, const bf16* w, const float* bias, void* out, u32 m, u32 n, u32 k, u32 out_stride, u32 epilogue) {
    SHARED_DYNAMIC(shared);
    Ring<ROW_TILES, COL_TILES, STAGES> ring(shared);
    u32 lane = threadIdx.x % WARP, g = lane / 4, t = lane % 4;
    Slice slice = slice_of_warp(ceil_div(k, STEP), threadIdx.x / WARP);

    // Rows past the end read row 0, and are zeroed on the way.
    const bf16* w_rows[ROW_TILES][2];
    bool w_valid[ROW_TILES][2];
#pragma unroll
    for (u32 r = 0; r < ROW_TILES; r++) {
#pragma unroll
        for (u32 upper = 0; upper < 2; upper++) {
            u32 row = weight_row(blockIdx.x * ROW_TILES + r, g + 8 * upper, n, is_gated(epilogue));
            w_valid[r][upper] = row < n;
            w_rows[r][upper] = w + static_cast<u64>(row < n ? row : 0) * k;
        }
    }
    auto load_weights = [&](u32 step, u32 stage) {
#pragma unroll
        for (u32 piece = 0; piece < PIECES; piece++) {
            u32 at = (slice.first + step) * STEP + piece * 32 + t * 8;
            bool inside = at < k;
#pragma unroll
            for (u32 r = 0; r < ROW_TILES; r++) {
#pragma unroll
                for (u32 upper = 0; upper < 2; upper++)
                    copy_async_16(ring.weight(stage, r, upper, piece), w_rows[r][upper] + (inside ? at : 0), inside && w_valid[r][upper]);
            }
        }
    };
    auto load_activations = [&](u32 step, u32 stage) {
#pragma unroll
        for (u32 piece = 0; piece < PIECES; piece++) {
            u32 at = (slice.first + step) * STEP + piece * 32 + t * 8;
#pragma unroll
            for (u32 c = 0; c < COL_TILES; c++) {
                u32 row = (blockIdx.y * COL_TILES + c) * 8 + g;
                bool valid = row < m && at < k;
                copy_async_16(ring.activation(stage, c, piece), x + (valid ? static_cast<u64>(row) * k + at : 0), valid);
            }
        }
    };

    let_next_kernel_start();
#pragma unroll
    for (u32 stage = 0; stage < STAGES; stage++)
        if (stage < slice.count) load_weights(stage, stage);
    wait_for_previous_kernel();
#pragma unroll
    for (u32 stage = 0; stage < STAGES; stage++) {
        if (stage < slice.count) load_activations(stage, stage);
        copy_async_commit();
    }

    float sums[ROW_TILES][COL_TILES][4] = {};
    for (u32 step = 0, stage = 0; step < slice.count; step++, stage = stage + 1 == STAGES ? 0 : stage + 1) {
        copy_async_wait<STAGES - 1>();
        multiply_stage(ring, stage, sums);
        if (step + STAGES < slice.count) {
            load_weights(step + STAGES, stage);
            load_activations(step + STAGES, stage);
        }
        copy_async_commit();
    }
    copy_async_wait<0>();
    reduce_and_store(sums, reinterpret_cast<float*>(shared), nullptr, bias, out, m, n, out_stride, epilogue);
}

}  // namespace linear_skinny_detail

#define LINEAR_SKINNY(name, row_tiles, col_tiles, stages, blocks)                                                                            \
    KERNEL(PRODUCT_THREADS, blocks) name(const bf16* x, const bf16* w, const float* bias, void* out, u32 m, u32 n, u32 k, u32 out_stride, u32 epilogue) {   \
        linear_skinny_detail::product<row_tiles, col_tiles, stages>(x, w, bias, out, m, n, k, out_stride, epilogue);                                    \
    }
LINEAR_SKINNY(linear_skinny_bf16_m8, 1, 1, 4, 2)
LINEAR_SKINNY(linear_skinny_bf16_m16, 2, 2, 4, 1)
LINEAR_SKINNY(linear_skinny_bf16_m32, 2, 4, 3, 1)
LINEAR_SKINNY(linear_skinny_bf16_m64, 2, 8, 2, 1)
