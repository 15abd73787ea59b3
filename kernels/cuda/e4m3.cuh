// Floats of eight bits (e4m3: sign, four of exponent, three of mantissa; largest 448), narrowed and widened without the instructions
// that only later GPUs have.
//
// Every number of e4m3 is one of bf16, so widening is exact.
//
// Source of e4m3: Micikevicius et al., "FP8 Formats for Deep Learning", 2022.
#pragma once
#include "ptx.cuh"

// An eight-bit float by its bits.
struct e4m3 {
    u8 bits;
};

// Rounds to nearest even. What is larger than 448 becomes 448, what is no number -448.
DEVICE e4m3 narrow_to_e4m3(float value) {
    constexpr float LARGEST = 448.0f, SMALLEST_NORMAL = 0.015625f, STEPS_OF_SUBNORMALS = 512.0f;
    float clamped = fminf(fmaxf(value, -LARGEST), LARGEST), magnitude = fabsf(clamped);
    u32 bits = float_to_bits(magnitude), sign = float_to_bits(clamped) >> 24 & 0x80;
    // Half of the last place less one, and one more where that place is odd: ties go to even.
    u32 rounded = (bits + 0x7ffffu + (bits >> 20 & 1)) >> 20;
    u32 code = magnitude < SMALLEST_NORMAL ? static_cast<u32>(rintf(magnitude * STEPS_OF_SUBNORMALS)) : rounded - ((127 - 7) << 3);
    return e4m3{static_cast<u8>(sign | code)};
}

// The upper bytes of both halves of `spread` as two bf16, exactly: the bits moved into place are the number less its exponent's bias,
// which a product with 2^120 mends, for subnormals too. The lower bytes may hold anything.
DEVICE u32 widen_e4m3_upper(u32 spread) {
    return fma_bf16x2((spread & 0x80008000u) | (spread & 0x7f007f00u) >> 4, 0x7b807b80u, 0x80008000u);
}

// Bytes 0 and 1 (or 2 and 3) of a word of e4m3 as two bf16, exactly.
DEVICE u32 widen_e4m3_pair(u32 word, u32 upper) { return widen_e4m3_upper(pick_bytes(word, 0, upper ? 0x3424 : 0x1404)); }
