// Bends the last logits towards a limit, in place.
//
//   x[i] = cap * tanh(x[i] / cap)
//
//   x  [count]  f32
//
// Grid     (any), 256 threads: each takes every (256 * grid)-th element.
// Shared   none.
// Numbers  f32; what is no number stays none.
// Cost     memory bound: 8 bytes an element.
// Needs    sm_80 or later.
// Trusts   kernels/src/ops/soft_cap.rs; cap > 0.
// Tested   emu/test_rows.cpp, against f64.
// Source   Bello et al., "Neural Combinatorial Optimization with Reinforcement Learning", 2016.
#include "ptx.cuh"

KERNEL(256, 1) soft_cap(float* x, u64 count, float cap) {
    let_next_kernel_start();
    wait_for_previous_kernel();
    u64 stride = static_cast<u64>(gridDim.x) * blockDim.x;
    for (u64 i = static_cast<u64>(blockIdx.x) * blockDim.x + threadIdx.x; i < count; i += stride) x[i] = cap * tanhf(x[i] / cap);
}
