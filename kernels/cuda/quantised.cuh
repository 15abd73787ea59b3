// How quantised weights lie in device memory: the codes and the scales as two (or three) planes, in the order the tensor core reads.
//
// A weight matrix [n, k] is cut into tiles of 16 rows (`weight_row` says which) by 64 columns. Within a tile lane 4g + t of a warp owns
// rows g and g + 8 and, of each 32 columns, the eight from 8t on: the same columns it owns of the activations (`product.cuh`).
//
//   codes, 4 bits  [n / 16][k / 64][32 lanes][16 bytes]      word s of a lane is its fragment of k16 step s: nibbles 0 and 4 are row g,
//                                                           1 and 5 row g + 8, columns 0 and 1; nibbles 2, 6 and 3, 7 columns 2, 3
//   codes, 8 bits  [n / 16][k / 64][2][32 lanes][16 bytes]   two words a step: bytes 0 and 2 are row g, 1 and 3 row g + 8
//   scales         [n / 16][k / 64][8 (g)][2 groups][2 rows] f16     groups of 32
//                  [n / 16][k / 128][8 (g)][2 rows]          f16     groups of 128
//                  [n]                                       f32     one a row
//   minima         as the scales
//
// n is rounded up to 16, k to 64 (128 where groups are): what is added has scale zero. A value is scale * (code - 8) for 4 bits,
// scale * code + minimum where there are minima, scale * code for 8 bits (signed).
#pragma once
#include "product.cuh"

constexpr u32 QUANT_STEP = 64;

template <u32 BITS_, u32 GROUP_, bool HAS_MINIMA_>
struct Format {
    static constexpr u32 BITS = BITS_, GROUP = GROUP_;
    static constexpr bool HAS_MINIMA = HAS_MINIMA_;
    // 16-byte pieces of codes a lane owns of one tile.
    static constexpr u32 CODE_PIECES = BITS / 4;
    // Bytes of scales a lane needs of one tile; none where a row has one scale.
    static constexpr u32 SCALE_BYTES = GROUP == 32 ? 8 : GROUP == 128 ? 4 : 0;
    // Columns one entry of the scales' plane covers.
    static constexpr u32 SCALE_SPAN = GROUP == 128 ? 128 : 64;
};

// GROUP of a format with one f32 scale a row.
constexpr u32 WHOLE_ROW = 0;

using Q4G32 = Format<4, 32, false>;
using Q4G32Min = Format<4, 32, true>;
using Q4G128 = Format<4, 128, false>;
using Q4G128Min = Format<4, 128, true>;
using Q8G32 = Format<8, 32, false>;
using Q8Row = Format<8, WHOLE_ROW, false>;

// Byte offsets into the planes, for one tile and the 64 columns `step`.
template <class F>
HOST_AND_DEVICE constexpr u64 code_offset(u32 tile, u32 step, u32 num_steps) {
    return (static_cast<u64>(tile) * num_steps + step) * F::CODE_PIECES * WARP * 16;
}

template <class F>
HOST_AND_DEVICE constexpr u64 scale_offset(u32 tile, u32 step, u32 k) {
    return (static_cast<u64>(tile) * ceil_div(k, F::SCALE_SPAN) + step / (F::SCALE_SPAN / 64)) * 8 * F::SCALE_BYTES;
}

// A k16 fragment of weights: rows g, g + 8, g, g + 8 of columns 0-1, 0-1, 2-3, 2-3, as bf16 pairs.
struct Fragment {
    u32 a[4];
};

// Eight 4-bit codes to bf16, exactly: 0x4300 | code is 128 + code, from which 136 (or 128, where there is a minimum) is taken.
template <bool HAS_MINIMA>
DEVICE Fragment widen_codes_4(u32 word) {
    constexpr u32 ONE = 0x3f803f80u, MINUS_OFFSET = HAS_MINIMA ? 0xc300c300u : 0xc308c308u;
    Fragment f;
#pragma unroll
    for (u32 i = 0; i < 4; i++) f.a[i] = fma_bf16x2(mask_and_fill(word >> 4 * i, 0x000f000fu, 0x43004300u), ONE, MINUS_OFFSET);
    return f;
}

// Two signed bytes (0 and 2 of `word`) to bf16, exactly: 128 + low seven bits, from which 128, or 256 when the sign is set, is taken.
DEVICE u32 widen_codes_8(u32 word) {
    return fma_bf16x2(mask_and_fill(word, 0x007f007fu, 0x43004300u), 0x3f803f80u, mask_and_fill(word, 0x00800080u, 0xc300c300u));
}

// The fragment of k16 step `step` (0..4) out of a lane's pieces of a tile.
template <class F>
DEVICE Fragment widen_step(const Vec16 (&pieces)[F::CODE_PIECES], u32 step) {
    if constexpr (F::BITS == 4) {
        const Vec16& p = pieces[0];
        return widen_codes_4<F::HAS_MINIMA>(step == 0 ? p.x : step == 1 ? p.y : step == 2 ? p.z : p.w);
    } else {
        const Vec16& p = pieces[step / 2];
        u32 first = step % 2 ? p.z : p.x, second = step % 2 ? p.w : p.y;
        return Fragment{{widen_codes_8(first), widen_codes_8(first >> 8), widen_codes_8(second), widen_codes_8(second >> 8)}};
    }
}
