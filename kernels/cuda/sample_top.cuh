// The likeliest tokens of many, best first, by one warp.
#pragma once
#include "sample.cuh"

namespace sampling {

// Whole warp. Writes the `count` largest of all lanes' numbers, which are unlike each other and above 0; 0 where there are no more.
//
// best_below(limit) is the largest of this lane's numbers below the limit, or 0. Only the lane that had the last one is asked again.
template <class BestBelow>
DEVICE void best_of_warp(u32 count, BestBelow best_below, u64* out) {
    u64 mine = best_below(~0ull);
    for (u32 i = 0; i < count; i++) {
        u64 best = warp_max(mine);
        if (threadIdx.x % WARP == 0) out[i] = best;
        if (mine == best && best) mine = best_below(best);
    }
}

// The largest number below the limit among this lane's share of a list.
DEVICE u64 best_of_list(const u64* list, u32 len, u64 limit) {
    u64 best = 0;
    for (u32 i = threadIdx.x % WARP; i < len; i += WARP) {
        u64 value = list[i];
        if (value < limit && value > best) best = value;
    }
    return best;
}

}  // namespace sampling
