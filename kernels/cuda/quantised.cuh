// How quantised weights lie in device memory: the codes and the scales as two (or three) planes, in the order the tensor core reads.
//
// A weight matrix [n, k] is cut into tiles of 16 rows (`weight_row` says which) by 64 columns. Within a tile lane 4g + t of a warp owns
// rows g and g + 8 and, of each 32 columns, the eight from 8t on: the same columns it owns of the activations (`product.cuh`).
//
//   codes, 4 bits  [n / 16][k / 64][32 lanes][16 bytes]      word s of a lane is its fragment of k16 step s: nibbles 0 and 4 are row g,
//                                                           1 and 5 row g + 8, columns 0 and 1; nibbles 2, 6 and 3, 7 columns 2, 3
//   codes, 5 bits  [n / 16][k / 64] x {the lower four as above; [32 lanes][4 bytes]: bits 4 s + r and 16 + 4 s + r of a lane stand above
//                                                           nibbles r and r + 4 of word s}
//   codes, 6 bits  [n / 16][k / 64] x {the lower four as above; [32 lanes][8 bytes]: bits 2 (4 (s % 2) + r) and the next of word s / 2
//                                                           stand above nibble r of word s, those 16 higher above nibble r + 4}
//   codes, 8 bits  [n / 16][k / 64][2][32 lanes][16 bytes]   two words a step: bytes 0 and 2 are row g, 1 and 3 row g + 8
//   scales         [n / 16][k / 64][8 (g)][4 groups][2 rows] f16     groups of 16
//                  [n / 16][k / 64][8 (g)][2 groups][2 rows] f16     groups of 32
//                  [n / 16][k / 128][8 (g)][2 rows]          f16     groups of 128
//                  [n]                                       f32     one a row
//   minima         as the scales
//
// n is rounded up to 16, k to 64 (128 where groups are): what is added has scale zero. A value is scale * (code - 8) for 4 bits (16
// for 5, 32 for 6), scale * code + minimum where there are minima, scale * code for 8 bits (signed, or e4m3).
//
// With groups of 16 a k16 step must be one group: there lane t owns columns 16 s + 4 t .. of step s, of the activations too.
//
// Group scales of a file that are an f16 times a small integer become one f16 a group: an error of 2^-12 of the scale, where a bf16
// weight has 2^-9. Bits a weight: Q4_0 4.5; Q4_1 and Q4_K 5; Q5_0 5.5; Q5_1 and Q5_K 6; Q6_K 7; Q8_0 8.5 (in the file Q4_K has 4.5,
// Q5_K 5.5, Q6_K 6.56).
#pragma once
#include "e4m3.cuh"
#include "product.cuh"

constexpr u32 QUANT_STEP = 64;

// What a code is: an integer, or an e4m3 by its bits.
enum class Code { Integer, E4m3 };

template <u32 BITS_, u32 GROUP_, bool HAS_MINIMA_, Code CODE_ = Code::Integer>
struct Format {
    static constexpr u32 BITS = BITS_, GROUP = GROUP_;
    static constexpr bool HAS_MINIMA = HAS_MINIMA_;
    static constexpr Code CODE = CODE_;
    // 16-byte pieces of codes a lane owns of one tile, and bytes of the bits above the fourth.
    static constexpr u32 CODE_PIECES = BITS == 8 ? 2 : 1, EXTRA_BYTES = BITS == 5 ? 4 : BITS == 6 ? 8 : 0;
    static constexpr u32 EXTRA_AT = CODE_PIECES * WARP * 16, TILE_CODE_BYTES = EXTRA_AT + WARP * EXTRA_BYTES;
    // Bytes of scales a lane needs of one tile; none where a row has one scale.
    static constexpr u32 SCALE_BYTES = GROUP == 16 ? 16 : GROUP == 32 ? 8 : GROUP == 128 ? 4 : 0;
    // Columns one entry of the scales' plane covers.
    static constexpr u32 SCALE_SPAN = GROUP == 128 ? 128 : 64;
    // Groups of one step of 64 columns; of a longer one, the part in this step.
    static constexpr u32 STEP_GROUPS = GROUP == 16 ? 4 : GROUP == 32 ? 2 : 1;
    // What a code is counted from.
    static constexpr u32 ZERO = HAS_MINIMA || BITS == 8 ? 0 : 1u << (BITS - 1);
    // Whether skinny products take codes as they are raised (`raise_short_codes`) and set the sums right: where those are wanted for minima
    // anyway, and where a step has one group, so that this costs less than to take the offset from each pair of codes.
    static constexpr bool STAYS_RAISED = BITS < 8 && (HAS_MINIMA || GROUP == 128);
};

// GROUP of a format with one f32 scale a row.
constexpr u32 WHOLE_ROW = 0;

using Q4G32 = Format<4, 32, false>;
using Q4G32Min = Format<4, 32, true>;
using Q4G128 = Format<4, 128, false>;
using Q4G128Min = Format<4, 128, true>;
using Q5G32 = Format<5, 32, false>;
using Q5G32Min = Format<5, 32, true>;
using Q6G16 = Format<6, 16, false>;
using Q8G32 = Format<8, 32, false>;
using Q8Row = Format<8, WHOLE_ROW, false>;
using F8Row = Format<8, WHOLE_ROW, false, Code::E4m3>;

// First of the four columns, of a step of 64, that lane t of a quad owns of k16 step `s`.
template <class F>
HOST_AND_DEVICE constexpr u32 owned_column(u32 s, u32 t) {
    return F::GROUP == 16 ? 16 * s + 4 * t : s / 2 * 32 + t * 8 + s % 2 * 4;
}

// Byte offsets into the planes, for one tile and the 64 columns `step`.
template <class F>
HOST_AND_DEVICE constexpr u64 code_offset(u32 tile, u32 step, u32 num_steps) {
    return (static_cast<u64>(tile) * num_steps + step) * F::TILE_CODE_BYTES;
}

template <class F>
HOST_AND_DEVICE constexpr u64 scale_offset(u32 tile, u32 step, u32 k) {
    return (static_cast<u64>(tile) * ceil_div(k, F::SCALE_SPAN) + step / (F::SCALE_SPAN / 64)) * 8 * F::SCALE_BYTES;
}

// A k16 fragment of weights: rows g, g + 8, g, g + 8 of columns 0-1, 0-1, 2-3, 2-3, as bf16 pairs.
struct Fragment {
    u32 a[4];
};

// What a lane holds of a tile's codes.
template <class F>
struct Codes {
    Vec16 pieces[F::CODE_PIECES];
    u32 extra[F::EXTRA_BYTES ? F::EXTRA_BYTES / 4 : 1];
};

DEVICE u32 word_at(const Vec16& v, u32 i) { return i == 0 ? v.x : i == 1 ? v.y : i == 2 ? v.z : v.w; }

// What a lane holds of the tile whose codes begin at `tile`.
template <class F>
DEVICE Codes<F> read_codes(const u8* tile, u32 lane) {
    Codes<F> codes;
#pragma unroll
    for (u32 piece = 0; piece < F::CODE_PIECES; piece++) codes.pieces[piece] = *reinterpret_cast<const Vec16*>(tile + (piece * WARP + lane) * 16);
    if constexpr (F::EXTRA_BYTES > 0) {
        const u32* above = reinterpret_cast<const u32*>(tile + F::EXTRA_AT + lane * F::EXTRA_BYTES);
#pragma unroll
        for (u32 i = 0; i < F::EXTRA_BYTES / 4; i++) codes.extra[i] = above[i];
    }
    return codes;
}

// Where the scale of group `group` and row g + 8 half stands among the halves of one g.
template <class F>
HOST_AND_DEVICE constexpr u32 place_in_entry(u32 group, u32 half) {
    return F::STEP_GROUPS > 1 ? group * 2 + half : half;
}

// The bits above the fourth of nibbles r and r + 4 of word `step`, in their places above them.
template <class F>
DEVICE u32 upper_bits(const Codes<F>& codes, u32 step, u32 r) {
    constexpr u32 COUNT = F::BITS - 4, PLACE = 4, MASK = (1u << COUNT) - 1;
    u32 from = COUNT == 1 ? 4 * step + r : 2 * (4 * (step % 2) + r), word = codes.extra[COUNT == 1 ? 0 : step / 2];
    u32 moved = from < PLACE ? word << (PLACE - from) : word >> (from - PLACE);
    return moved & (MASK << PLACE) * 0x00010001u;
}

// What raised codes stand above what they count from.
template <class F>
constexpr float RAISED_BY = 128.0f + F::ZERO;

// Eight codes of 4 to 6 bits to bf16, exactly, and 128 above what they are: 0x4300 | code is 128 + code.
template <class F>
DEVICE Fragment raise_short_codes(const Codes<F>& codes, u32 step) {
    u32 word = word_at(codes.pieces[0], step);
    Fragment f;
#pragma unroll
    for (u32 r = 0; r < 4; r++) {
        f.a[r] = mask_and_fill(word >> 4 * r, 0x000f000fu, 0x43004300u);
        if constexpr (F::EXTRA_BYTES > 0) f.a[r] |= upper_bits<F>(codes, step, r);
    }
    return f;
}

// The same, from which 128 and the format's zero is taken.
template <class F>
DEVICE Fragment widen_short_codes(const Codes<F>& codes, u32 step) {
    constexpr u32 ONE = 0x3f803f80u, MINUS_OFFSET = (0xc300u | F::ZERO) * 0x00010001u;
    Fragment f = raise_short_codes<F>(codes, step);
#pragma unroll
    for (u32 r = 0; r < 4; r++) f.a[r] = fma_bf16x2(f.a[r], ONE, MINUS_OFFSET);
    return f;
}

// Two signed bytes (0 and 2 of `word`) to bf16, exactly: 128 + low seven bits, from which 128, or 256 when the sign is set, is taken.
DEVICE u32 widen_codes_8(u32 word) {
    return fma_bf16x2(mask_and_fill(word, 0x007f007fu, 0x43004300u), 0x3f803f80u, mask_and_fill(word, 0x00800080u, 0xc300c300u));
}

// Bytes 0 and 2 of `word` to bf16, exactly.
template <class F>
DEVICE u32 widen_two_bytes(u32 word) {
    if constexpr (F::CODE == Code::E4m3) return widen_e4m3_upper(word << 8);
    return widen_codes_8(word);
}

// The fragment of k16 step `step` (0..4) out of what a lane holds of a tile.
template <class F>
DEVICE Fragment widen_step(const Codes<F>& codes, u32 step) {
    if constexpr (F::BITS < 8) {
        return widen_short_codes<F>(codes, step);
    } else {
        const Vec16& p = codes.pieces[step / 2];
        u32 first = step % 2 ? p.z : p.x, second = step % 2 ? p.w : p.y;
        return Fragment{{widen_two_bytes<F>(first), widen_two_bytes<F>(first >> 8), widen_two_bytes<F>(second), widen_two_bytes<F>(second >> 8)}};
    }
}

// Starts a lane's copy of BYTES from one aligned place to another.
template <u32 BYTES>
DEVICE void copy_async_lane(void* to, const void* from, bool valid) {
    if constexpr (BYTES == 16)
        copy_async_16(to, from, valid);
    else
        copy_async_small<BYTES>(to, from, valid);
}

// Four bf16 that stand one after the other.
struct alignas(8) TwoPairs {
    u32 low, high;
};

// Code `i` (0..8: four of row g, four of row g + 8) of k16 step `s` of a lane as a number.
template <class F>
DEVICE float code_value(const Codes<F>& codes, u32 s, u32 i) {
    u32 half = i / 4, odd = i % 2, r = half + i % 4 / 2 * 2;
    if constexpr (F::BITS == 8) {
        u32 byte = word_at(codes.pieces[s / 2], s % 2 * 2 + i % 4 / 2) >> 8 * (half + odd * 2) & 255;
        if constexpr (F::CODE == Code::E4m3) return low_half(widen_e4m3_upper(byte << 8));
        return static_cast<float>(static_cast<i32>(byte << 24) >> 24);
    } else {
        u32 code = word_at(codes.pieces[0], s) >> 4 * (r + odd * 4) & 15;
        if constexpr (F::EXTRA_BYTES > 0) code |= upper_bits<F>(codes, s, r) >> 16 * odd & 0x30;
        return static_cast<float>(static_cast<i32>(code) - static_cast<i32>(F::ZERO));
    }
}

// The four numbers of k16 step `s` in row `in_tile` of a tile, which is row `row` of the matrix, out of what its lane holds.
template <class F>
DEVICE Float4 four_numbers(const Codes<F>& codes, const u8* scales, const u8* minima, u32 tile, u32 step, u32 k, u32 row, u32 in_tile, u32 s) {
    u32 half = in_tile / 8;
    float scale, minimum = 0.0f;
    if constexpr (F::GROUP == WHOLE_ROW) {
        scale = reinterpret_cast<const float*>(scales)[row];
    } else {
        u64 entry = scale_offset<F>(tile, step, k) + in_tile % 8 * F::SCALE_BYTES + 2 * place_in_entry<F>(s * F::STEP_GROUPS / 4, half);
        scale = widen(*reinterpret_cast<const f16*>(scales + entry));
        if constexpr (F::HAS_MINIMA) minimum = widen(*reinterpret_cast<const f16*>(minima + entry));
    }
    auto number = [&](u32 i) { return multiply_then_add(code_value<F>(codes, s, 4 * half + i), scale, minimum); };
    return Float4{number(0), number(1), number(2), number(3)};
}
