// All inline PTX of the kernels, each instruction with a twin that the emulator runs.
//
// A twin does what the PTX manual says of the instruction, no more: a copy lands only at its wait, a fragment is spread over the
// lanes exactly as on the device. Everything here is per thread unless its comment says "whole warp".
//
// Needs sm_80; what only sm_90 has (the griddepcontrol pair) is nothing on older devices.
#pragma once
#include "port.cuh"

#ifdef __CUDACC__
#define SHARED_ADDRESS(pointer) static_cast<u32>(__cvta_generic_to_shared(pointer))
#endif

// Waits until every kernel before this one in the stream is complete and its writes are visible. Nothing when the launch was an
// ordinary one.
DEVICE void wait_for_previous_kernel() {
#if defined(__CUDACC__) && defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

// Lets the next kernel's blocks start as soon as every block of this one has said so, wherever there is room.
DEVICE void let_next_kernel_start() {
#if defined(__CUDACC__) && defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}

// Brings the line of an address nearer. For what no kernel of a step writes, such as weights: it may stand before the wait.
DEVICE void prefetch(const void* at) {
#ifdef __CUDACC__
    asm volatile("prefetch.global.L2 [%0];" ::"l"(at));
#else
    (void)at;
#endif
}

// Starts a copy of 16 bytes to shared memory, past L1. With `valid` false the 16 bytes become zero and `from` is not read, but it
// must still be an address inside some buffer.
DEVICE void copy_async_16(void* to, const void* from, bool valid) {
#ifdef __CUDACC__
    asm volatile("cp.async.cg.shared.global.L2::128B [%0], [%1], 16, %2;" ::"r"(SHARED_ADDRESS(to)), "l"(from), "r"(valid ? 16 : 0)
                 : "memory");
#else
    emu::copy_async(to, from, 16, valid);
#endif
}

// The same for 8 or 4 bytes, through L1: for scales that several lanes share.
template <u32 BYTES>
DEVICE void copy_async_small(void* to, const void* from, bool valid) {
    static_assert(BYTES == 4 || BYTES == 8, "cp.async.ca copies 4, 8 or 16 bytes");
#ifdef __CUDACC__
    asm volatile("cp.async.ca.shared.global [%0], [%1], %2, %3;" ::"r"(SHARED_ADDRESS(to)), "l"(from), "n"(BYTES), "r"(valid ? BYTES : 0)
                 : "memory");
#else
    emu::copy_async(to, from, BYTES, valid);
#endif
}

// Closes the group of copies this thread started since the last call.
DEVICE void copy_async_commit() {
#ifdef __CUDACC__
    asm volatile("cp.async.commit_group;" ::: "memory");
#else
    emu::copy_async_commit();
#endif
}

// Waits until at most PENDING of this thread's groups are still under way. Other threads see the bytes after the next barrier.
template <u32 PENDING>
DEVICE void copy_async_wait() {
#ifdef __CUDACC__
    asm volatile("cp.async.wait_group %0;" ::"n"(PENDING) : "memory");
#else
    emu::copy_async_wait(PENDING);
#endif
}

// Two f32 rounded to nearest even bf16, `low` in the lower half.
DEVICE u32 pack_bf16(float low, float high) {
#ifdef __CUDACC__
    u32 pair;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
    return pair;
#else
    return emu::round_to_bf16(low) | static_cast<u32>(emu::round_to_bf16(high)) << 16;
#endif
}

// One f32 rounded to nearest even bf16.
DEVICE bf16 narrow(float value) { return bf16{static_cast<u16>(pack_bf16(value, 0.0f) & 0xffffu)}; }

// Two bf16 fused multiply-adds, each rounded once: a * b + c.
DEVICE u32 fma_bf16x2(u32 a, u32 b, u32 c) {
#ifdef __CUDACC__
    u32 result;
    asm("fma.rn.bf16x2 %0, %1, %2, %3;" : "=r"(result) : "r"(a), "r"(b), "r"(c));
    return result;
#else
    u32 low = emu::round_to_bf16(low_half(a) * low_half(b) + low_half(c));
    u32 high = emu::round_to_bf16(high_half(a) * high_half(b) + high_half(c));
    return low | high << 16;
#endif
}

// Half to single.
DEVICE float widen(f16 value) {
#ifdef __CUDACC__
    float result;
    asm("cvt.f32.f16 %0, %1;" : "=f"(result) : "h"(value.bits));
    return result;
#else
    return emu::half_to_float(value.bits);
#endif
}

// Single to half, to nearest even.
DEVICE f16 narrow_to_half(float value) {
#ifdef __CUDACC__
    f16 result;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(result.bits) : "f"(value));
    return result;
#else
    return f16{emu::float_to_half(value)};
#endif
}

// 2 to the power of `x`; relative error 2^-22, zero for minus infinity.
DEVICE float exp2_fast(float x) {
#ifdef __CUDACC__
    float result;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(result) : "f"(x));
    return result;
#else
    return __builtin_exp2f(x);
#endif
}

// a * b + c with the product rounded, too: the same bits wherever it is computed.
DEVICE float multiply_then_add(float a, float b, float c) {
#ifdef __CUDACC__
    return __fadd_rn(__fmul_rn(a, b), c);
#else
    return a * b + c;
#endif
}

// A product that is rounded by itself, never fused with the addition that uses it: for results that must have the CPU path's bits.
DEVICE float multiply_unfused(float a, float b) {
#ifdef __CUDACC__
    return __fmul_rn(a, b);
#else
    // In memory the compiler cannot look past it.
    volatile float product = a * b;
    return product;
#endif
}

// The same in double precision.
DEVICE double multiply_unfused(double a, double b) {
#ifdef __CUDACC__
    return __dmul_rn(a, b);
#else
    volatile double product = a * b;
    return product;
#endif
}

// The number of the lowest bit that is set; of 0 nothing is said.
DEVICE u32 lowest_bit(u32 bits) {
#ifdef __CUDACC__
    return static_cast<u32>(__ffs(static_cast<int>(bits))) - 1;
#else
    return bits ? static_cast<u32>(__builtin_ctz(bits)) : 0;
#endif
}

// One over the square root of `x`.
DEVICE float reciprocal_root(float x) {
#ifdef __CUDACC__
    return rsqrtf(x);
#else
    return 1.0f / sqrtf(x);
#endif
}

// Bytes of {b, a} (b the upper word) picked by the four nibbles of `selector`, lowest first.
DEVICE u32 pick_bytes(u32 a, u32 b, u32 selector) {
#ifdef __CUDACC__
    return __byte_perm(a, b, selector);
#else
    u64 both = static_cast<u64>(b) << 32 | a;
    u32 result = 0;
    for (u32 i = 0; i < 4; i++) result |= static_cast<u32>(both >> 8 * (selector >> 4 * i & 7) & 0xff) << 8 * i;
    return result;
#endif
}

// (a & mask) | fill, in one LOP3.
DEVICE u32 mask_and_fill(u32 a, u32 mask, u32 fill) {
#ifdef __CUDACC__
    u32 result;
    asm("lop3.b32 %0, %1, %2, %3, 0xea;" : "=r"(result) : "r"(a), "r"(mask), "r"(fill));
    return result;
#else
    return (a & mask) | fill;
#endif
}

// Sixteen bytes that are read once: not kept in L1.
DEVICE Vec16 load_streamed(const void* from) {
#ifdef __CUDACC__
    Vec16 v;
    asm volatile("ld.global.nc.L1::no_allocate.L2::128B.v4.u32 {%0, %1, %2, %3}, [%4];" : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w) : "l"(from));
    return v;
#else
    return *static_cast<const Vec16*>(from);
#endif
}

// Four f32 from L2, never from a stale L1 line: for what other blocks of the same launch wrote.
DEVICE Float4 load_from_other_blocks(const float* from) {
#ifdef __CUDACC__
    Float4 v;
    asm volatile("ld.global.cg.v4.f32 {%0, %1, %2, %3}, [%4];" : "=f"(v.x), "=f"(v.y), "=f"(v.z), "=f"(v.w) : "l"(from) : "memory");
    return v;
#else
    return *reinterpret_cast<const Float4*>(from);
#endif
}

// Whole warp. d += a b for a 16 x 16 bf16 tile `a` and a 16 x 8 tile `b`, sums in f32.
//
// With g = lane / 4 and t = lane % 4, two values a word: a[0] = A[g][2t..], a[1] = A[g + 8][2t..], a[2] = A[g][2t + 8..],
// a[3] = A[g + 8][2t + 8..]; b[0] = B[2t..][g], b[1] = B[2t + 8..][g]; d[0], d[1] = D[g][2t..], d[2], d[3] = D[g + 8][2t..].
DEVICE void multiply_16x8x16(float (&d)[4], u32 a0, u32 a1, u32 a2, u32 a3, u32 b0, u32 b1) {
#ifdef __CUDACC__
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                 : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1));
#else
    emu::multiply_16x8x16(d, {a0, a1, a2, a3}, {b0, b1});
#endif
}

// Whole warp. Four 8 x 8 tiles of 16-bit values from shared memory: lane i gives the address of row i % 8 of tile i / 8, and gets
// in r[j] the two values [g][2t..] of tile j.
DEVICE void load_tiles(u32 (&r)[4], const void* row) {
#ifdef __CUDACC__
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];" : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(SHARED_ADDRESS(row)) : "memory");
#else
    const void* const* rows = emu::exchange(emu::Collective::LoadTiles, ALL_LANES, row);
    u32 g = emu::lane() / 4, t = emu::lane() % 4;
    for (u32 j = 0; j < 4; j++) __builtin_memcpy(&r[j], static_cast<const u8*>(rows[8 * j + g]) + 4 * t, 4);
#endif
}

// Whole warp. The same, each tile transposed: r[j] holds [2t..][g].
DEVICE void load_tiles_transposed(u32 (&r)[4], const void* row) {
#ifdef __CUDACC__
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];" : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(SHARED_ADDRESS(row)) : "memory");
#else
    const void* const* rows = emu::exchange(emu::Collective::LoadTiles, ALL_LANES, row);
    u32 g = emu::lane() / 4, t = emu::lane() % 4;
    for (u32 j = 0; j < 4; j++) {
        u16 low = static_cast<const u16*>(rows[8 * j + 2 * t])[g], high = static_cast<const u16*>(rows[8 * j + 2 * t + 1])[g];
        r[j] = low | static_cast<u32>(high) << 16;
    }
#endif
}

// Makes this thread's earlier writes to global memory visible to every block before its later ones.
DEVICE void publish_writes() {
#ifdef __CUDACC__
    __threadfence();
#endif
}
