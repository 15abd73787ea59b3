// What a kernel source may use, under nvcc and under the emulator alike.
//
// The kernels never include NVIDIA's headers for 16-bit floats: `bf16` and `f16` here are bit patterns with explicit conversions, so
// that the same source compiles with nvcc and, as plain C++, with any compiler. All inline PTX is in `ptx.cuh`.
//
// Shared memory is asked for in two ways only: SHARED_DYNAMIC (the launch says how much) and SHARED_ARRAY (the kernel does). Both
// are poisoned by the emulator before each block.
#pragma once

#ifdef __CUDACC__
#define SHARED_DYNAMIC(name) extern __shared__ __align__(128) unsigned char name[]
#define SHARED_ARRAY(type, name, count) __shared__ type name[count]
#define KERNEL(max_threads, min_blocks) extern "C" __global__ void __launch_bounds__(max_threads, min_blocks)
#define DEVICE __device__ __forceinline__
#define HOST_AND_DEVICE __host__ __device__ __forceinline__
#else
#include "emu/emulator.hpp"
#endif

using u8 = unsigned char;
using u16 = unsigned short;
using u32 = unsigned int;
using u64 = unsigned long long;
using i32 = int;

// A bfloat16 by its bits: the upper half of an f32.
struct bf16 {
    u16 bits;
};

// An IEEE half by its bits.
struct f16 {
    u16 bits;
};

// Sixteen bytes, the widest load and store there is.
struct alignas(16) Vec16 {
    u32 x, y, z, w;
};

// Four f32.
struct alignas(16) Float4 {
    float x, y, z, w;
};

constexpr u32 WARP = 32;
constexpr u32 ALL_LANES = 0xffffffffu;

HOST_AND_DEVICE constexpr u32 ceil_div(u32 a, u32 b) { return (a + b - 1) / b; }

HOST_AND_DEVICE constexpr u32 smaller(u32 a, u32 b) { return a < b ? a : b; }

DEVICE float bits_to_float(u32 bits) {
#ifdef __CUDACC__
    return __uint_as_float(bits);
#else
    float value;
    __builtin_memcpy(&value, &bits, sizeof value);
    return value;
#endif
}

DEVICE u32 float_to_bits(float value) {
#ifdef __CUDACC__
    return __float_as_uint(value);
#else
    u32 bits;
    __builtin_memcpy(&bits, &value, sizeof bits);
    return bits;
#endif
}

// The two bf16 of a word, low half first.
DEVICE float low_half(u32 pair) { return bits_to_float(pair << 16); }
DEVICE float high_half(u32 pair) { return bits_to_float(pair & 0xffff0000u); }
DEVICE float widen(bf16 value) { return bits_to_float(static_cast<u32>(value.bits) << 16); }
