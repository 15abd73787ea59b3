// The numbers of a GGUF file's blocks, one at a time: what each type keeps of a number, and where.
//
// A type is a struct with the numbers of a block (LEN), its bytes (BYTES), the numbers that share a scale (GROUP), and for number `i`
// of the block at `b` its `code`, its group's `scale`, and its group's `minimum` where the type has one (HAS_MINIMA):
//
//   number = scale * (code - ZERO), or scale * code + minimum
//
// Scales and minima come out in f32, products of f16 and a small integer rounded once, so that a number has the bits that the CPU
// gives it (kernels/src/weight/block.rs). Blocks lie at any byte, hence every read is of single bytes.
//
// Source of the layouts: ggml's quantised types as the Python package `gguf` reads them.
#pragma once
#include "ptx.cuh"

namespace gguf {

DEVICE f16 half_at(const u8* from) { return f16{static_cast<u16>(from[0] | from[1] << 8)}; }
DEVICE float float_at(const u8* from) { return widen(half_at(from)); }

// Nibble `i` of runs of 2 * RUN numbers: the lower ones of RUN bytes, then their upper ones.
template <u32 RUN>
DEVICE u32 nibble(const u8* bytes, u32 i) {
    return bytes[i / (2 * RUN) * RUN + i % RUN] >> 4 * (i / RUN % 2) & 15;
}

// Bit `i / 32` of byte `i % 32`: a fifth or third bit of each of 256 numbers.
DEVICE u32 extra_bit(const u8* bytes, u32 i) { return bytes[i % 32] >> i / 32 & 1; }

// Two bits a number: of each half of 128 numbers 32 bytes, the lowest bits for its first 32 numbers.
DEVICE u32 two_bits(const u8* bytes, u32 i) { return bytes[i / 128 * 32 + i % 32] >> 2 * (i % 128 / 32) & 3; }

// Four bits, groups of 32: HEAD bytes of scale and perhaps minimum, then 16 bytes of codes.
template <u32 HEAD>
struct Nibbles {
    static constexpr u32 LEN = 32, BYTES = HEAD + 16, GROUP = 32, CODE_BITS = 4;
    static constexpr i32 ZERO = 8;
    static constexpr bool HAS_MINIMA = HEAD == 4;
    static DEVICE u32 code(const u8* b, u32 i) { return nibble<16>(b + HEAD, i); }
    static DEVICE float scale(const u8* b, u32) { return float_at(b); }
    static DEVICE float minimum(const u8* b, u32) { return float_at(b + 2); }
};

// Five bits: as four, with all fifth bits in four bytes before the nibbles.
template <u32 HEAD>
struct FiveBits {
    static constexpr u32 LEN = 32, BYTES = HEAD + 20, GROUP = 32, CODE_BITS = 5;
    static constexpr i32 ZERO = 16;
    static constexpr bool HAS_MINIMA = HEAD == 4;
    static DEVICE u32 code(const u8* b, u32 i) { return nibble<16>(b + HEAD + 4, i) | (b[HEAD + i / 8] >> i % 8 & 1) << 4; }
    static DEVICE float scale(const u8* b, u32) { return float_at(b); }
    static DEVICE float minimum(const u8* b, u32) { return float_at(b + 2); }
};

using Q4_0 = Nibbles<2>;
using Q4_1 = Nibbles<4>;
using Q5_0 = FiveBits<2>;
using Q5_1 = FiveBits<4>;

// Signed bytes; a code is 128 more.
struct Q8_0 {
    static constexpr u32 LEN = 32, BYTES = 34, GROUP = 32, CODE_BITS = 8;
    static constexpr i32 ZERO = 128;
    static constexpr bool HAS_MINIMA = false;
    static DEVICE u32 code(const u8* b, u32 i) { return b[2 + i] ^ 0x80u; }
    static DEVICE float scale(const u8* b, u32) { return float_at(b); }
    static DEVICE float minimum(const u8*, u32) { return 0.0f; }
};

// Groups of 16: a byte with scale and minimum each.
struct Q2_K {
    static constexpr u32 LEN = 256, BYTES = 84, GROUP = 16, CODE_BITS = 2;
    static constexpr i32 ZERO = 0;
    static constexpr bool HAS_MINIMA = true;
    static DEVICE u32 code(const u8* b, u32 i) { return two_bits(b + 16, i); }
    static DEVICE float scale(const u8* b, u32 i) { return float_at(b + 80) * static_cast<float>(b[i / 16] & 15); }
    static DEVICE float minimum(const u8* b, u32 i) { return -float_at(b + 82) * static_cast<float>(b[i / 16] >> 4); }
};

// Groups of 16: scales of six bits less 32, the lower four in eight bytes, the upper two in the next four.
struct Q3_K {
    static constexpr u32 LEN = 256, BYTES = 110, GROUP = 16, CODE_BITS = 3;
    static constexpr i32 ZERO = 4;
    static constexpr bool HAS_MINIMA = false;
    static DEVICE u32 code(const u8* b, u32 i) { return two_bits(b + 32, i) | extra_bit(b, i) << 2; }
    static DEVICE float scale(const u8* b, u32 i) {
        const u8* scales = b + 96;
        u32 group = i / 16, low = nibble<8>(scales, group), high = scales[8 + group % 4] >> 2 * (group / 4) & 3;
        return float_at(b + 108) * static_cast<float>(static_cast<i32>(low | high << 4) - 32);
    }
    static DEVICE float minimum(const u8*, u32) { return 0.0f; }
};

// The head of Q4_K and Q5_K: scale, minimum, and of eight groups of 32 a scale and a minimum of six bits. Of the last four groups,
// the upper two bits stand above those of the first four.
struct KHead {
    static DEVICE u32 six_bits(const u8* b, u32 group, u32 which) {
        const u8 *first = b + 4 + 4 * which, *both = b + 12;
        if (group < 4) return first[group] & 63;
        return (both[group - 4] >> 4 * which & 15) | first[group - 4] >> 6 << 4;
    }
    static DEVICE float scale(const u8* b, u32 i) { return float_at(b) * static_cast<float>(six_bits(b, i / 32, 0)); }
    static DEVICE float minimum(const u8* b, u32 i) { return -float_at(b + 2) * static_cast<float>(six_bits(b, i / 32, 1)); }
};

struct Q4_K : KHead {
    static constexpr u32 LEN = 256, BYTES = 144, GROUP = 32, CODE_BITS = 4;
    static constexpr i32 ZERO = 0;
    static constexpr bool HAS_MINIMA = true;
    static DEVICE u32 code(const u8* b, u32 i) { return nibble<32>(b + 16, i); }
};

struct Q5_K : KHead {
    static constexpr u32 LEN = 256, BYTES = 176, GROUP = 32, CODE_BITS = 5;
    static constexpr i32 ZERO = 0;
    static constexpr bool HAS_MINIMA = true;
    static DEVICE u32 code(const u8* b, u32 i) { return nibble<32>(b + 48, i) | extra_bit(b + 16, i) << 4; }
};

// Groups of 16: a signed byte of scale each.
struct Q6_K {
    static constexpr u32 LEN = 256, BYTES = 210, GROUP = 16, CODE_BITS = 6;
    static constexpr i32 ZERO = 32;
    static constexpr bool HAS_MINIMA = false;
    static DEVICE u32 code(const u8* b, u32 i) { return nibble<64>(b, i) | two_bits(b + 128, i) << 4; }
    static DEVICE float scale(const u8* b, u32 i) { return float_at(b + 208) * static_cast<float>(static_cast<signed char>(b[192 + i / 16])); }
    static DEVICE float minimum(const u8*, u32) { return 0.0f; }
};

template <class Block>
DEVICE float number(const u8* b, u32 i) {
    float code = static_cast<float>(static_cast<i32>(Block::code(b, i)) - (Block::HAS_MINIMA ? 0 : Block::ZERO));
    if (Block::HAS_MINIMA) return multiply_then_add(Block::scale(b, i), code, Block::minimum(b, i));
    return Block::scale(b, i) * code;
}

}  // namespace gguf
