// Reads memory and keeps next to nothing: the yardstick for everything that streams weights or keys.
//
//   out[thread] = exclusive or of the words that the thread read
//
//   data   [bytes]                 any bytes, a multiple of 16
//   out    [grid * 256]   u32      so that no load can be left out
//
// Grid     any (eight blocks for each multiprocessor are good), 256 threads, striding.
// Shared   none.
// Cost     memory bound: bytes, once.
// Needs    sm_80 or later.
// Trusts   kernels/src/cuda/ops/read.rs for lengths.
// Tested   emu/test_rows.cpp, against the exclusive or of all words.
#include "ptx.cuh"

namespace read_bytes_detail {

// Loads of a thread that are under way at once: with 64 warps on a multiprocessor more than the memory's latency needs.
constexpr u32 AHEAD = 8;

}  // namespace read_bytes_detail

KERNEL(256, 4) read_bytes(const u8* data, u64 bytes, u32* out) {
    using namespace read_bytes_detail;
    wait_for_previous_kernel();
    u64 thread = static_cast<u64>(blockIdx.x) * blockDim.x + threadIdx.x;
    u64 stride = static_cast<u64>(gridDim.x) * blockDim.x;
    u32 mixed = 0;
    for (u64 first = thread; first < bytes / 16; first += AHEAD * stride) {
        Vec16 words[AHEAD];
#pragma unroll
        for (u32 i = 0; i < AHEAD; i++) {
            u64 at = first + i * stride;
            words[i] = at < bytes / 16 ? load_streamed(data + 16 * at) : Vec16{0, 0, 0, 0};
        }
#pragma unroll
        for (u32 i = 0; i < AHEAD; i++) mixed ^= words[i].x ^ words[i].y ^ words[i].z ^ words[i].w;
    }
    out[thread] = mixed;
}
