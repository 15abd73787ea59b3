// Sums and maxima over a warp and over a block, always in the same order.
#pragma once
#include "port.cuh"

// The sum over all lanes, in every lane.
DEVICE float warp_sum(float value) {
#pragma unroll
    for (u32 flip = 16; flip; flip >>= 1) value += __shfl_xor_sync(ALL_LANES, value, flip);
    return value;
}

// The maximum over all lanes, in every lane.
DEVICE float warp_max(float value) {
#pragma unroll
    for (u32 flip = 16; flip; flip >>= 1) value = fmaxf(value, __shfl_xor_sync(ALL_LANES, value, flip));
    return value;
}

// The sum over the block, in every thread. `scratch` has 32 elements; a barrier must stand between two uses of it.
DEVICE float block_sum(float value, float* scratch) {
    u32 lane = threadIdx.x % WARP, warp = threadIdx.x / WARP, num_warps = blockDim.x / WARP;
    value = warp_sum(value);
    if (lane == 0) scratch[warp] = value;
    __syncthreads();
    return warp_sum(lane < num_warps ? scratch[lane] : 0.0f);
}
