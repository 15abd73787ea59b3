// Brings quantised weights into the planes of `quantised.cuh`, on the device, once at load; and back to bf16 for large products.
//
//   pack_{q4_0 | q4_1 | q5_0 | q5_1 | q8_0 | q4_k | q5_k | q6_k}   from the blocks of a GGUF file, row after row
//   pack_{q4_0 | q4_1}_g128            the same from blocks of which each four in a row share scale and minimum: AWQ and GPTQ, cut into blocks
//   pack_{q4g128 | q8c | f8c}{, _f16, _f32}   from bf16, f16 or f32 weights, quantised here: symmetric, the scale is the largest magnitude
//                                      / 7, / 127 or / 448
//   dequantise_*                       planes to bf16 [n, k], rows in their own order: what a large product reads
//
//   blocks   [n, k / 32 or k / 256, bytes of a block]      w  [n, k] floats      k a multiple of the block's length (32 where it is quantised here)
//   codes, scales, minima                          see `quantised.cuh`
//   gated    1: a tile pairs eight gate rows with their eight up rows; only for products with epilogue 3 or 4
//
// Grid     pack_*: (ceil(n / 16), ceil(k / 64)), 32 threads: one warp a tile, each lane makes what it will read.
//          dequantise_*: the same.
// Shared   none.
// Numbers  scales of groups are rounded to f16 (before the codes are chosen, where they are); scales of rows are f32.
// Cost     load time only; memory is touched a few times.
// Needs    sm_80 or later.
// Trusts   kernels/src/ops/linear.rs.
// Tested   emu/test_quantised.cpp: every packed value against the source, and the way back.
#include "gguf.cuh"
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
    template <class F>
    DEVICE u32 column(u32 s) const {
        return step * QUANT_STEP + owned_column<F>(s, t);
    }
};

DEVICE float number(float x) { return x; }
DEVICE float number(f16 x) { return widen(x); }
DEVICE float number(bf16 x) { return widen(x); }

// The largest code of a format that numbers are quantised to.
template <class F>
HOST_AND_DEVICE constexpr float largest_code() {
    return F::CODE == Code::E4m3 ? 448.0f : F::BITS == 8 ? 127.0f : 7.0f;
}

// Float weights, quantised on the way.
template <class T>
struct Dense {
    const T* w;
    u32 k;

    DEVICE float at(u32 row, u32 column) const { return number(w[static_cast<u64>(row) * k + column]); }
    DEVICE float largest(u32 row, u32 from, u32 to) const {
        float best = 0.0f;
        for (u32 i = from; i < to; i++) best = fmaxf(best, fabsf(at(row, i)));
        return best;
    }
    template <class F>
    DEVICE u32 code(u32 row, u32 column, float scale) const {
        constexpr float LIMIT = largest_code<F>();
        float q = scale > 0.0f ? at(row, column) / scale : 0.0f;
        if constexpr (F::CODE == Code::E4m3) return narrow_to_e4m3(q).bits;
        return static_cast<u32>(static_cast<i32>(rintf(fminf(fmaxf(q, -LIMIT), LIMIT)))) + F::ZERO;
    }
};

// Writes one lane's codes of a tile; `code(row, column)` gives those inside the matrix, `filler` stands elsewhere.
template <class F, class Code>
DEVICE void write_codes(const Place& at, u8* codes, u32 filler, Code code) {
    u32 words[F::CODE_PIECES * 4] = {}, extra[2] = {};
#pragma unroll
    for (u32 s = 0; s < 4; s++) {
#pragma unroll
        for (u32 i = 0; i < 8; i++) {
            u32 half = i / 4, row = at.row(half), column = at.column<F>(s) + i % 4, odd = i % 2;
            u32 c = row < at.n && column < at.k ? code(row, column) : filler;
            // Up to eight bits: columns 0, 1 go to nibbles half, half + 4; columns 2, 3 to half + 2, half + 6.
            u32 r = half + i % 4 / 2 * 2;
            if (F::BITS == 8) {
                words[2 * s + i % 4 / 2] |= (c & 255) << 8 * (half + odd * 2);
            } else {
                words[s] |= (c & 15) << 4 * (r + odd * 4);
                if (F::BITS == 5) extra[0] |= (c >> 4 & 1) << (4 * s + r + 16 * odd);
                if (F::BITS == 6) extra[s / 2] |= (c >> 4 & 3) << (2 * (4 * (s % 2) + r) + 16 * odd);
            }
        }
    }
    u8* to = codes + code_offset<F>(at.tile, at.step, at.num_steps);
#pragma unroll
    for (u32 piece = 0; piece < F::CODE_PIECES; piece++)
        *reinterpret_cast<Vec16*>(to + (piece * WARP + at.lane) * 16) = Vec16{words[4 * piece], words[4 * piece + 1], words[4 * piece + 2], words[4 * piece + 3]};
    if constexpr (F::EXTRA_BYTES > 0) {
        u32* above = reinterpret_cast<u32*>(to + F::EXTRA_AT + at.lane * F::EXTRA_BYTES);
#pragma unroll
        for (u32 i = 0; i < F::EXTRA_BYTES / 4; i++) above[i] = extra[i];
    }
}

// One entry of a plane: group `group` (of this step's) of row g + 8 half.
template <class F>
DEVICE f16* plane_entry(const Place& at, u8* plane, u32 group, u32 half) {
    return reinterpret_cast<f16*>(plane + scale_offset<F>(at.tile, at.step, at.k) + at.g * F::SCALE_BYTES) + place_in_entry<F>(group, half);
}

// Fills a plane of groups; the lanes of a quad share the entries. An entry of two steps is written by the first of them.
template <class F, class Value>
DEVICE void write_plane(const Place& at, u8* plane, Value value) {
    if (F::SCALE_SPAN > QUANT_STEP && at.step % 2 != 0) return;
    for (u32 entry = at.t; entry < 2 * F::STEP_GROUPS; entry += 4) {
        u32 group = entry / 2, half = entry % 2, row = at.row(half), column = at.step * QUANT_STEP + group * F::GROUP;
        *plane_entry<F>(at, plane, group, half) = row < at.n && column < at.k ? narrow_to_half(value(row, column)) : f16{0};
    }
}

// Packs a GGUF matrix, row after row of blocks.
template <class F, class Block>
DEVICE void pack_blocks(const u8* blocks, u8* codes, u8* scales, u8* minima, u32 n, u32 k, u32 gated) {
    static_assert(Block::CODE_BITS == F::BITS && Block::HAS_MINIMA == F::HAS_MINIMA && F::GROUP % Block::GROUP == 0, "a format holds what the block says");
    // Eight bits are signed in the planes, and unsigned as a block's code.
    constexpr u32 FLIP = F::BITS == 8 ? 0x80 : 0;
    wait_for_previous_kernel();
    Place at(n, k, gated);
    auto block = [&](u32 row, u32 column) { return blocks + (static_cast<u64>(row) * (k / Block::LEN) + column / Block::LEN) * Block::BYTES; };
    write_codes<F>(at, codes, F::ZERO, [&](u32 row, u32 column) { return Block::code(block(row, column), column % Block::LEN) ^ FLIP; });
    write_plane<F>(at, scales, [&](u32 row, u32 column) { return Block::scale(block(row, column), column % Block::LEN); });
    if constexpr (F::HAS_MINIMA) write_plane<F>(at, minima, [&](u32 row, u32 column) { return Block::minimum(block(row, column), column % Block::LEN); });
}

// To four bits in groups of 128. The scales are found by each pair of steps for itself, and written by the first.
template <class T>
DEVICE void quantise_groups(const T* w, u8* codes, u8* scales, u32 n, u32 k, u32 gated) {
    using F = Q4G128;
    wait_for_previous_kernel();
    Place at(n, k, gated);
    Dense<T> source{w, k};
    u32 from = at.step / 2 * 128;
    float rounded[2];
    for (u32 half = 0; half < 2; half++) {
        u32 row = at.row(half);
        f16 scale = row < n ? narrow_to_half(source.largest(row, from, smaller(from + 128, k)) / largest_code<F>()) : f16{0};
        rounded[half] = widen(scale);
        if (at.t == 0 && at.step % 2 == 0) *plane_entry<F>(at, scales, 0, half) = scale;
    }
    u32 upper_row = at.row(1);
    write_codes<F>(at, codes, F::ZERO, [&](u32 row, u32 column) { return source.template code<F>(row, column, rounded[row == upper_row]); });
}

// To eight bits. scales: f32 [n], found by each tile for itself, and written by the first of its row.
template <class F, class T>
DEVICE void quantise_rows(const T* w, u8* codes, float* scales, u32 n, u32 k, u32 gated) {
    wait_for_previous_kernel();
    Place at(n, k, gated);
    Dense<T> source{w, k};
    float found[2];
    for (u32 half = 0; half < 2; half++) {
        u32 row = at.row(half);
        // The four lanes of a row look at a quarter each.
        u32 quarter = ceil_div(k, 4), from = smaller(at.t * quarter, k);
        float best = row < n ? source.largest(row, from, smaller(from + quarter, k)) : 0.0f;
        best = fmaxf(best, __shfl_xor_sync(ALL_LANES, best, 1));
        best = fmaxf(best, __shfl_xor_sync(ALL_LANES, best, 2));
        found[half] = best / largest_code<F>();
        if (row < n && at.t == 0 && at.step == 0) scales[row] = found[half];
    }
    u32 upper_row = at.row(1);
    write_codes<F>(at, codes, 0, [&](u32 row, u32 column) { return source.template code<F>(row, column, found[row == upper_row]); });
}

template <class F>
DEVICE void dequantise(const u8* codes, u8* scales, u8* minima, bf16* out, u32 n, u32 k, u32 gated) {
    wait_for_previous_kernel();
    Place at(n, k, gated);
    Codes<F> mine = read_codes<F>(codes + code_offset<F>(at.tile, at.step, at.num_steps), at.lane);
#pragma unroll
    for (u32 half = 0; half < 2; half++) {
        u32 row = at.row(half);
        if (row >= n) continue;
#pragma unroll
        for (u32 s = 0; s < 4; s++) {
            u32 column = at.column<F>(s);
            if (column >= k) continue;
            Float4 v = four_numbers<F>(mine, scales, minima, at.tile, at.step, k, row, at.g + 8 * half, s);
            *reinterpret_cast<TwoPairs*>(out + static_cast<u64>(row) * k + column) = TwoPairs{pack_bf16(v.x, v.y), pack_bf16(v.z, v.w)};
        }
    }
}

}  // namespace pack_detail

#define PACK(name, format, block)                                                                           \
    KERNEL(32, 1) name(const u8* blocks, u8* codes, u8* scales, u32 n, u32 k, u32 gated) {                  \
        pack_detail::pack_blocks<format, gguf::block>(blocks, codes, scales, nullptr, n, k, gated);         \
    }
#define PACK_WITH_MINIMA(name, format, block)                                                               \
    KERNEL(32, 1) name(const u8* blocks, u8* codes, u8* scales, u8* minima, u32 n, u32 k, u32 gated) {      \
        pack_detail::pack_blocks<format, gguf::block>(blocks, codes, scales, minima, n, k, gated);          \
    }
PACK(pack_q4_0, Q4G32, Q4_0)
PACK_WITH_MINIMA(pack_q4_1, Q4G32Min, Q4_1)
PACK(pack_q5_0, Q5G32, Q5_0)
PACK_WITH_MINIMA(pack_q5_1, Q5G32Min, Q5_1)
PACK(pack_q8_0, Q8G32, Q8_0)
PACK_WITH_MINIMA(pack_q4_k, Q4G32Min, Q4_K)
PACK_WITH_MINIMA(pack_q5_k, Q5G32Min, Q5_K)
PACK(pack_q6_k, Q6G16, Q6_K)

PACK(pack_q4_0_g128, Q4G128, Q4_0)
PACK_WITH_MINIMA(pack_q4_1_g128, Q4G128Min, Q4_1)

#define QUANTISE(suffix, type)                                                                                        \
    KERNEL(32, 1) pack_q4g128##suffix(const type* w, u8* codes, u8* scales, u32 n, u32 k, u32 gated) {                \
        pack_detail::quantise_groups(w, codes, scales, n, k, gated);                                                  \
    }                                                                                                                 \
    KERNEL(32, 1) pack_q8c##suffix(const type* w, u8* codes, float* scales, u32 n, u32 k, u32 gated) {                \
        pack_detail::quantise_rows<Q8Row>(w, codes, scales, n, k, gated);                                             \
    }                                                                                                                 \
    KERNEL(32, 1) pack_f8c##suffix(const type* w, u8* codes, float* scales, u32 n, u32 k, u32 gated) {                \
        pack_detail::quantise_rows<F8Row>(w, codes, scales, n, k, gated);                                             \
    }
QUANTISE(, bf16)
QUANTISE(_f16, f16)
QUANTISE(_f32, float)

#define DEQUANTISE(name, format) \
    KERNEL(32, 1) name(const u8* codes, u8* scales, u8* minima, bf16* out, u32 n, u32 k, u32 gated) { pack_detail::dequantise<format>(codes, scales, minima, out, n, k, gated); }
DEQUANTISE(dequantise_q4g32, Q4G32)
DEQUANTISE(dequantise_q4g32z, Q4G32Min)
DEQUANTISE(dequantise_q4g128, Q4G128)
DEQUANTISE(dequantise_q4g128z, Q4G128Min)
DEQUANTISE(dequantise_q5g32, Q5G32)
DEQUANTISE(dequantise_q5g32z, Q5G32Min)
DEQUANTISE(dequantise_q6g16, Q6G16)
DEQUANTISE(dequantise_q8g32, Q8G32)
DEQUANTISE(dequantise_q8c, Q8Row)
DEQUANTISE(dequantise_f8c, F8Row)
