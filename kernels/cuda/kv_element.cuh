// What a KV cache keeps of a number: bf16, or eight bits (e4m3: sign, four of exponent, three of mantissa; largest 448).
//
// An element type is a struct with the type it stores (Stored), the bytes of eight of them (PIECE_BYTES), and how eight are copied to
// shared memory, widened from there and how one is made. Every number of e4m3 is one of bf16, so reading is exact.
#pragma once
#include "e4m3.cuh"

struct Bf16Element {
    using Stored = bf16;
    static constexpr u32 PIECE_BYTES = 16;
    static DEVICE void copy_piece(void* to, const Stored* from, bool valid) { copy_async_16(to, from, valid); }
    static DEVICE Vec16 widen_piece(const void* from) { return *static_cast<const Vec16*>(from); }
    static DEVICE Stored make(float value) { return narrow(value); }
};

struct E4m3Element {
    using Stored = e4m3;
    static constexpr u32 PIECE_BYTES = 8;
    static DEVICE void copy_piece(void* to, const Stored* from, bool valid) { copy_async_small<8>(to, from, valid); }
    static DEVICE Vec16 widen_piece(const void* from) {
        const u32* words = static_cast<const u32*>(from);
        return Vec16{widen_e4m3_pair(words[0], 0), widen_e4m3_pair(words[0], 1), widen_e4m3_pair(words[1], 0), widen_e4m3_pair(words[1], 1)};
    }
    static DEVICE Stored make(float value) { return narrow_to_e4m3(value); }
};
