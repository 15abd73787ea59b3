// Brings quantised weights into the planes of `quantised.cuh`, on the device, once at load; and back to bf16 for large products.
//
//   pack_q4_0, pack_q4_1, pack_q8_0    from the blocks of a GGUF file: per row k / 32 blocks of {d, [m,] 32 codes}
//   pack_q4g128, pack_q8c              from bf16 weights, quantised here: symmetric, the scale is the largest magnitude / 7 or / 127
//   dequantise_*                       planes to bf16 [n, k], rows in their own order: what a large product reads
//
//   blocks   [n, k / 32, 18 | 20 | 34 bytes]      w  [n, k] bf16      k a multiple of 32 (128 for groups of 128)
//   codes, scales, minima                          see `quantised.cuh`
//   gated    1: a tile pairs eight gate rows with their eight up rows; only for products with epilogue 3 or 4
//
// Grid     pack_*: (ceil(n / 16), ceil(k / 64)), 32 threads: one warp a tile, each lane makes what it will read.
//          dequantise_*: the same.
// Shared   none.
// Numbers  scales of groups are rounded to f16 before the codes are chosen; scales of rows are f32.
// Cost     load time only; memory is touched a few times.
// Needs    sm_80 or later.
// Trusts   kernels/src/ops/linear.rs.
// Tested   emu/test_quantised.cpp: every packed value against the source, and the way back.
#include "quantised.cuh"

namespace pack_detail {

// Where this warp's tile stands, and which weights its lane owns.
struct Place {
    u32 tile, step, num_steps, lane, g, t, n, k;
    bool gated;

    DEVICE Place(u32 n, u32 k, u32 gated)
        : tile(blockIdx.x), step(blockIdx.y), num_steps(ceil_div(k, QUANT_STEP)), lane(threadIdx.x % WARP), g(lane / 4), t(lane % 4), n(n), k(k), gated(gated != 0) {}
    DEVICE u32 row(u32 half) const { return weight_row(tile, g + 8 * half, n, gated); }
    // First of the four columns of k16 step `s`.
    DEVICE u32 column(u32 s) const { return step * QUANT_STEP + s / 2 * 32 + t * 8 + s % 2 * 4; }
};

DEVICE f16 read_f16(const u8* from) { return f16{static_cast<u16>(from[0] | from[1] << 8)}; }

// A GGUF matrix: row after row of blocks.
template <u32 BLOCK_BYTES, u32 HEAD_BYTES, bool FOUR_BITS>
struct Blocks {
    const u8* bytes;
    u32 k;

    DEVICE const u8* block(u32 row, u32 column) const { return bytes + (static_cast<u64>(row) * (k / 32) + column / 32) * BLOCK_BYTES; }
    DEVICE u32 code(u32 row, u32 column) const {
        const u8* codes = block(row, column) + HEAD_BYTES;
        u32 i = column % 32;
        if (!FOUR_BITS) return codes[i];
        return i < 16 ? codes[i] & 15 : codes[i - 16] >> 4;
    }
    DEVICE f16 scale(u32 row, u32 column) const { return read_f16(block(row, column)); }
    DEVICE f16 minimum(u32 row, u32 column) const { return read_f16(block(row, column) + 2); }
};

// bf16 weights, quantised on the way with scales that stand already in the planes.
struct Dense {
    const bf16* w;
    u32 k;

    DEVICE float largest(u32 row, u32 from, u32 to) const {
        float best = 0.0f;
        for (u32 i = from; i < to; i++) best = fmaxf(best, fabsf(widen(w[static_cast<u64>(row) * k + i])));
        return best;
    }
    DEVICE u32 code(u32 row, u32 column, float scale, float limit) const {
        float q = scale > 0.0f ? widen(w[static_cast<u64>(row) * k + column]) / scale : 0.0f;
        return static_cast<u32>(static_cast<i32>(rintf(fminf(fmaxf(q, -limit), limit))));
    }
};

// Writes one lane's codes of a tile; `code(row, column)` gives those inside the matrix, `filler` stands elsewhere.
template <class F, class Code>
DEVICE void write_codes(const Place& at, u8* codes, u32 filler, Code code) {
    u32 words[F::CODE_PIECES * 4];
    for (u32 s = 0; s < 4; s++) {
        u32 pair[2] = {0, 0};
        for (u32 i = 0; i < 8; i++) {
            u32 half = i / 4, row = at.row(half), column = at.column(s) + i % 4;
            u32 c = row < at.n && column < at.k ? code(row, column) : filler;
            // Four bits: columns 0, 1 go to nibbles half, half + 4; columns 2, 3 to half + 2, half + 6.
            if (F::BITS == 4)
                pair[0] |= (c & 15) << 4 * (half + i % 4 / 2 * 2 + i % 2 * 4);
            else
                pair[i % 4 / 2] |= (c & 255) << 8 * (half + i % 2 * 2);
        }
        if (F::BITS == 4) {
            words[s] = pair[0];
        } else {
            words[2 * s] = pair[0];
            words[2 * s + 1] = pair[1];
        }
    }
    u8* to = codes + code_offset<F>(at.tile, at.step, at.num_steps) + at.lane * 16;
    for (u32 piece = 0; piece < F::CODE_PIECES; piece++)
        *reinterpret_cast<Vec16*>(to + piece * WARP * 16) = Vec16{words[4 * piece], words[4 * piece + 1], words[4 * piece + 2], words[4 * piece + 3]};
}

// One entry of a plane: group `group` (of this step's) of row g + 8 half.
template <class F>
DEVICE f16* plane_entry(const Place& at, u8* plane, u32 group, u32 half) {
    u8* entry = plane + scale_offset<F>(at.tile, at.step, at.k) + at.g * F::SCALE_BYTES;
    return reinterpret_cast<f16*>(entry) + (F::GROUP == 32 ? group * 2 + half : half);
}

// Fills a plane of groups of 32; lanes 0 to 3 of a quad take one entry each.
template <class F, class Value>
DEVICE void write_plane(const Place& at, u8* plane, Value value) {
    u32 group = at.t / 2, half = at.t % 2, row = at.row(half), column = at.step * QUANT_STEP + group * 32;
    *plane_entry<F>(at, plane, group, half) = row < at.n && column < at.k ? value(row, column) : f16{0};
}

template <class F>
DEVICE void pack_blocks_min(const u8* blocks, u8* codes, u8* scales, u8* minima, u32 n, u32 k, u32 gated) {
    Place at(n, k, gated);
    Blocks<20, 4, true> source{blocks, k};
    write_codes<F>(at, codes, 0, [&](u32 row, u32 column) { return source.code(row, column); });
    write_plane<F>(at, scales, [&](u32 row, u32 column) { return source.scale(row, column); });
    write_plane<F>(at, minima, [&](u32 row, u32 column) { return source.minimum(row, column); });
}

template <class F, class Source>
DEVICE void pack_blocks(const Source& source, u8* codes, u8* scales, u32 n, u32 k, u32 gated) {
    Place at(n, k, gated);
    write_codes<F>(at, codes, F::BITS == 4 ? 8 : 0, [&](u32 row, u32 column) { return source.code(row, column); });
    write_plane<F>(at, scales, [&](u32 row, u32 column) { return source.scale(row, column); });
}

// One code of a packed matrix as a signed number (unsigned where there are minima).
template <class F>
DEVICE float code_value(const Vec16 (&pieces)[F::CODE_PIECES], u32 s, u32 i) {
    u32 half = i / 4;
    const Vec16& p = pieces[F::BITS == 4 ? 0 : s / 2];
    u32 index = F::BITS == 4 ? s : s % 2 * 2 + i % 4 / 2, word = index == 0 ? p.x : index == 1 ? p.y : index == 2 ? p.z : p.w;
    if (F::BITS == 4) return static_cast<float>(static_cast<i32>(word >> 4 * (half + i % 4 / 2 * 2 + i % 2 * 4) & 15) - (F::HAS_MINIMA ? 0 : 8));
    u32 byte = word >> 8 * (half + i % 2 * 2) & 255;
    return static_cast<float>(static_cast<i32>(byte << 24) >> 24);
}

template <class F>
DEVICE void dequantise(const u8* codes, u8* scales, u8* minima, bf16* out, u32 n, u32 k, u32 gated) {
    wait_for_previous_kernel();
    Place at(n, k, gated);
    Vec16 pieces[F::CODE_PIECES];
    for (u32 piece = 0; piece < F::CODE_PIECES; piece++) pieces[piece] = *reinterpret_cast<const Vec16*>(codes + code_offset<F>(at.tile, at.step, at.num_steps) + (piece * WARP + at.lane) * 16);
#pragma unroll
    for (u32 half = 0; half < 2; half++) {
        u32 row = at.row(half);
        if (row >= n) continue;
#pragma unroll
        for (u32 group = 0; group < 2; group++) {
            u32 column = at.column(2 * group);
            if (column >= k) continue;
            float scale, minimum = 0.0f;
            if constexpr (F::GROUP == WHOLE_ROW)
                scale = reinterpret_cast<const float*>(scales)[row];
            else
                scale = widen(*plane_entry<F>(at, scales, group, half));
            if constexpr (F::HAS_MINIMA) minimum = widen(*plane_entry<F>(at, minima, group, half));
            float values[8];
#pragma unroll
            for (u32 i = 0; i < 8; i++) values[i] = code_value<F>(pieces, 2 * group + i / 4, 4 * half + i % 4) * scale + minimum;
            *reinterpret_cast<Vec16*>(out + static_cast<u64>(row) * k + column) =
                Vec16{pack_bf16(values[0], values[1]), pack_bf16(values[2], values[3]), pack_bf16(values[4], values[5]), pack_bf16(values[6], values[7])};
        }
    }
}

}  // namespace pack_detail

KERNEL(32, 1) pack_q4_0(const u8* blocks, u8* codes, u8* scales, u32 n, u32 k, u32 gated) {
    pack_detail::pack_blocks<Q4G32>(pack_detail::Blocks<18, 2, true>{blocks, k}, codes, scales, n, k, gated);
}

KERNEL(32, 1) pack_q4_1(const u8* blocks, u8* codes, u8* scales, u8* minima, u32 n, u32 k, u32 gated) {
    pack_detail::pack_blocks_min<Q4G32Min>(blocks, codes, scales, minima, n, k, gated);
}

KERNEL(32, 1) pack_q8_0(const u8* blocks, u8* codes, u8* scales, u32 n, u32 k, u32 gated) {
    pack_detail::pack_blocks<Q8G32>(pack_detail::Blocks<34, 2, false>{blocks, k}, codes, scales, n, k, gated);
}

// The scales are found by each pair of steps for itself, and written by the first.
KERNEL(32, 1) pack_q4g128(const bf16* w, u8* codes, u8* scales, u32 n, u32 k, u32 gated) {
    using namespace pack_detail;
    constexpr float LIMIT = 7.0f;
    Place at(n, k, gated);
    Dense source{w, k};
    u32 from = at.step / 2 * 128;
    float rounded[2];
    for (u32 half = 0; half < 2; half++) {
        u32 row = at.row(half);
        f16 scale = row < n ? narrow_to_half(source.largest(row, from, smaller(from + 128, k)) / LIMIT) : f16{0};
        rounded[half] = widen(scale);
        if (at.t == 0 && at.step % 2 == 0) *plane_entry<Q4G128>(at, scales, 0, half) = scale;
    }
    u32 upper_row = at.row(1);
    write_codes<Q4G128>(at, codes, 8, [&](u32 row, u32 column) { return source.code(row, column, rounded[row == upper_row], LIMIT) + 8; });
}

// scales: f32 [n], by its own row, found here by the first step of each tile.
KERNEL(32, 1) pack_q8c(const bf16* w, u8* codes, float* scales, u32 n, u32 k, u32 gated) {
    using namespace pack_detail;
    constexpr float LIMIT = 127.0f;
    Place at(n, k, gated);
    Dense source{w, k};
    float found[2];
    for (u32 half = 0; half < 2; half++) {
        u32 row = at.row(half);
        // The four lanes of a row look at a quarter each.
        u32 quarter = ceil_div(k, 4), from = smaller(at.t * quarter, k);
        float best = row < n ? source.largest(row, from, smaller(from + quarter, k)) : 0.0f;
        best = fmaxf(best, __shfl_xor_sync(ALL_LANES, best, 1));
        best = fmaxf(best, __shfl_xor_sync(ALL_LANES, best, 2));
        found[half] = best / LIMIT;
        if (row < n && at.t == 0 && at.step == 0) scales[row] = found[half];
    }
    u32 upper_row = at.row(1);
    write_codes<Q8Row>(at, codes, 0, [&](u32 row, u32 column) { return source.code(row, column, found[row == upper_row], LIMIT); });
}

#define DEQUANTISE(name, format) \
    KERNEL(32, 1) name(const u8* codes, u8* scales, u8* minima, bf16* out, u32 n, u32 k, u32 gated) { pack_detail::dequantise<format>(codes, scales, minima, out, n, k, gated); }
DEQUANTISE(dequantise_q4g32, Q4G32)
DEQUANTISE(dequantise_q4g32z, Q4G32Min)
DEQUANTISE(dequantise_q4g128, Q4G128)
DEQUANTISE(dequantise_q4g128z, Q4G128Min)
DEQUANTISE(dequantise_q8g32, Q8G32)
DEQUANTISE(dequantise_q8c, Q8Row)
