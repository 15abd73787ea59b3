// Runs a CUDA kernel on the CPU: one fiber a thread, one block after another, blocks and threads in an order shuffled by a seed.
//
// What it finds: wrong results on ragged shapes; reads of shared memory nobody wrote and of asynchronous copies that were not
// waited for (both are poisoned with NaN bits); accesses past the end of a buffer or of shared memory (a guard page follows each);
// barriers and warp operations that not all threads reach; warp operations in which the lanes disagree; missing barriers, as far
// as an order of threads exists that shows them (every test runs under several).
// What it does not: timing, races that no order of whole-thread runs shows, instructions of sm_90a.
//
// Included by `port.cuh` where nvcc does not compile; nothing else includes it but the tests and the stand-in for the driver.
#pragma once
#include <math.h>

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <vector>

#define SHARED_DYNAMIC(name) unsigned char* const name = emu::dynamic_shared()
#define SHARED_ARRAY(type, name, count)              \
    static emu::SharedArray<type, (count)> name##_of; \
    type* const name = name##_of.in_this_block()
// Whoever lists the kernels defines it otherwise, and reads their names from what the preprocessor leaves.
#ifndef KERNEL
#define KERNEL(max_threads, min_blocks) inline void
#endif
#define DEVICE inline
#define HOST_AND_DEVICE inline

struct Index3 {
    unsigned x, y, z;
};

namespace emu {

// Which warp operation a lane waits in; all lanes of one exchange must agree.
enum class Collective : uint8_t { None, Sync, Shuffle, Ballot, Multiply, LoadTiles };

struct Launch {
    Index3 grid{1, 1, 1}, block{1, 1, 1};
    size_t dynamic_bytes = 0;
    uint64_t seed = 0;
    const char* kernel = "";  // for the message of a fault
};

// The index of the running thread, of its block, and the two extents, as the kernel sees them.
extern Index3 thread_index, block_index, block_extent, grid_extent;

// Counts blocks since the program started; a SharedArray poisons itself when it changes.
extern uint64_t block_generation;

// What the process ends with on a kernel's fault; nothing else in a server that runs on the stand-in for the driver ends so.
constexpr int FAULT_STATUS = 70;

// Runs `kernel` once for each thread of each block, in an order that the seed gives. Prints the reason and exits with FAULT_STATUS on a
// fault. One launch at a time, from whichever thread.
void launch(const Launch& launch, const std::function<void()>& kernel);

// The block's dynamic shared memory, with a guard page behind it.
unsigned char* dynamic_shared();

// Lane of the running thread in its warp.
unsigned lane();

void barrier_block();

// Gives `bytes` at `value` to the other lanes of `mask`, waits for theirs, returns all 32, one behind the other.
const void* exchange_bytes(Collective what, uint32_t mask, const void* value, size_t bytes);

template <class T>
const T* exchange(Collective what, uint32_t mask, const T& value) {
    static_assert(sizeof(T) <= 32, "one lane gives at most 32 bytes");
    return static_cast<const T*>(exchange_bytes(what, mask, &value, sizeof value));
}

// Whole warp: `mma.sync.m16n8k16` of bf16 tiles, spread over the lanes as on the device. d += a b.
void multiply_16x8x16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]);

void copy_async(void* to, const void* from, uint32_t bytes, bool valid);
void copy_async_commit();
void copy_async_wait(uint32_t pending);

uint16_t round_to_bf16(float value);
float half_to_float(uint16_t bits);
uint16_t float_to_half(float value);

// Memory of the "device" for a test: poisoned, followed by a page that faults.
void* allocate(size_t bytes);
void release(void* memory, size_t bytes);

// A fixed-size shared array of a kernel.
template <class T, size_t COUNT>
class SharedArray {
  public:
    T* in_this_block() {
        if (generation != block_generation) {
            memset(static_cast<void*>(values), 0xff, sizeof values);
            generation = block_generation;
        }
        return values;
    }

  private:
    alignas(16) T values[COUNT];
    uint64_t generation = 0;
};

}  // namespace emu

#define threadIdx emu::thread_index
#define blockIdx emu::block_index
#define blockDim emu::block_extent
#define gridDim emu::grid_extent

inline void __syncthreads() { emu::barrier_block(); }
inline void __syncwarp(uint32_t mask = 0xffffffffu) {
    uint32_t nothing = 0;
    emu::exchange(emu::Collective::Sync, mask, nothing);
}
template <class T>
T __shfl_sync(uint32_t mask, T value, int source) {
    return emu::exchange(emu::Collective::Shuffle, mask, value)[source & 31];
}
template <class T>
T __shfl_xor_sync(uint32_t mask, T value, int flip) {
    unsigned mine = emu::lane();
    return emu::exchange(emu::Collective::Shuffle, mask, value)[mine ^ flip];
}
template <class T>
T __shfl_up_sync(uint32_t mask, T value, unsigned by) {
    unsigned mine = emu::lane();
    return emu::exchange(emu::Collective::Shuffle, mask, value)[mine >= by ? mine - by : mine];
}
inline uint32_t __ballot_sync(uint32_t mask, bool vote) {
    uint32_t mine = vote, result = 0;
    const uint32_t* votes = emu::exchange(emu::Collective::Ballot, mask, mine);
    for (unsigned i = 0; i < 32; i++)
        if (mask >> i & 1) result |= votes[i] << i;
    return result;
}
inline bool __any_sync(uint32_t mask, bool vote) { return __ballot_sync(mask, vote) != 0; }
inline bool __all_sync(uint32_t mask, bool vote) { return __ballot_sync(mask, vote) == mask; }
template <class T>
T atomicAdd(T* to, T value) {
    T old = *to;
    *to = old + value;
    return old;
}
template <class T>
T atomicMax(T* to, T value) {
    T old = *to;
    if (value > old) *to = value;
    return old;
}
template <class T>
T atomicMin(T* to, T value) {
    T old = *to;
    if (value < old) *to = value;
    return old;
}
template <class T>
T atomicOr(T* to, T value) {
    T old = *to;
    *to = old | value;
    return old;
}
inline uint32_t __umulhi(uint32_t a, uint32_t b) { return static_cast<uint32_t>(static_cast<uint64_t>(a) * b >> 32); }
inline int __popc(uint32_t x) { return __builtin_popcount(x); }
