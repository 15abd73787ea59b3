// Made-up weights, written by the device itself: for `--weights dummy`, where a GPU node has no model and no network.
//
//   fill_random_bf16, _f32, _f16   uniform in a range         fill_random_bytes   uniform bytes (packed int8 and int4)
//
//   out   [count] of the type named   any count (bytes: a multiple of 16)
//
// Grid     any (1024 is good), 256 threads, striding.
// Shared   none.
// Numbers  element i is a function of (seed, i) alone: SplitMix64's finaliser over their sum, its upper 24 bits as a fraction.
// Cost     memory bound.
// Needs    sm_80 or later.
// Trusts   the caller for the count.
// Tested   emu/test_rows.cpp: range, mean, and independence of the grid.
// Source   Steele, Lea and Flood, "Fast Splittable Pseudorandom Number Generators", 2014.
#include "ptx.cuh"

namespace fill_random_detail {

DEVICE u64 random_bits(u64 seed, u64 index) {
    u64 z = seed + (index + 1) * 0x9e3779b97f4a7c15ull;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ z >> 27) * 0x94d049bb133111ebull;
    return z ^ z >> 31;
}

DEVICE float uniform(u64 seed, u64 index, float low, float high) {
    float fraction = static_cast<float>(static_cast<u32>(random_bits(seed, index) >> 40)) * (1.0f / 16777216.0f);
    return low + (high - low) * fraction;
}

DEVICE u64 first_index() { return static_cast<u64>(blockIdx.x) * blockDim.x + threadIdx.x; }
DEVICE u64 index_stride() { return static_cast<u64>(gridDim.x) * blockDim.x; }

}  // namespace fill_random_detail

KERNEL(256, 1) fill_random_bf16(bf16* out, u64 count, u64 seed, float amplitude) {
    using namespace fill_random_detail;
    wait_for_previous_kernel();
    for (u64 i = first_index(); i < count; i += index_stride()) out[i] = narrow(uniform(seed, i, -amplitude, amplitude));
}

KERNEL(256, 1) fill_random_f32(float* out, u64 count, u64 seed, float low, float high) {
    using namespace fill_random_detail;
    wait_for_previous_kernel();
    for (u64 i = first_index(); i < count; i += index_stride()) out[i] = uniform(seed, i, low, high);
}

KERNEL(256, 1) fill_random_f16(f16* out, u64 count, u64 seed, float low, float high) {
    using namespace fill_random_detail;
    wait_for_previous_kernel();
    for (u64 i = first_index(); i < count; i += index_stride()) out[i] = narrow_to_half(uniform(seed, i, low, high));
}

KERNEL(256, 1) fill_random_bytes(u8* out, u64 bytes, u64 seed) {
    using namespace fill_random_detail;
    wait_for_previous_kernel();
    for (u64 i = first_index(); i < bytes / 16; i += index_stride()) {
        u64 a = random_bits(seed, 2 * i), b = random_bits(seed, 2 * i + 1);
        *reinterpret_cast<Vec16*>(out + 16 * i) = Vec16{static_cast<u32>(a), static_cast<u32>(a >> 32), static_cast<u32>(b), static_cast<u32>(b >> 32)};
    }
}
