// Scores, weights and candidates of a random draw, with the CPU path's bits.
//
//   score  = (adjusted logit - the row's largest) / temperature      at most 0
//   weight = e^score, 0 below e^-87
//   key    = the bits of -score: the likelier the lower
//
// A token is a candidate if its weight is above 0 and at least min_p. Candidates are ordered by key, of equals by token: by `place`.
// What models/src/sampling/exp.rs computes in f32, operation by operation, is computed here in the same order.
#pragma once
#include "sample.cuh"

namespace sampling {

// Below this, e^x is smaller than the smallest normal f32.
constexpr float LOWEST = -87.0f;
constexpr u32 HIGHEST_KEY = 0x42ae0000u;  // the bits of 87
constexpr float BUCKETS_PER_UNIT = 32.0f;
constexpr u32 INDEX_BITS = 20;
static_assert(MAX_VOCAB == 1u << INDEX_BITS, "a token fits below a key");
// Weights are summed up as multiples of this: the sum of MAX_VOCAB weights of 1 fits 64 bits.
constexpr float FIXED_POINT = 8796093022208.0f;  // 2^43
constexpr u64 LAST_PLACE = ~0ull;

// e^x for x <= 0, but never below e^-87.
DEVICE float exp_or_tiny(float x) {
    constexpr float ROUNDER = 12582912.0f;  // 1.5 * 2^23: adding and subtracting it rounds to an integer
    float power = multiply_unfused(x < LOWEST ? LOWEST : x, 1.44269504088896340736f);
    float rounded = power + ROUNDER;
    float fraction = power - (rounded - ROUNDER);
    float sum = 1.540353e-4f;
    sum = multiply_unfused(sum, fraction) + 1.3333558e-3f;
    sum = multiply_unfused(sum, fraction) + 9.618129e-3f;
    sum = multiply_unfused(sum, fraction) + 5.550411e-2f;
    sum = multiply_unfused(sum, fraction) + 2.402265e-1f;
    sum = multiply_unfused(sum, fraction) + 0.693147180559945309417f;
    sum = multiply_unfused(sum, fraction) + 1.0f;
    return multiply_unfused(sum, bits_to_float((float_to_bits(rounded) << 23) + (127u << 23)));
}

// The weight that belongs to a key.
DEVICE float weight_of(u32 key) { return key > HIGHEST_KEY ? 0.0f : exp_or_tiny(-bits_to_float(key)); }

// A weight as an integer.
DEVICE u64 fixed_point(float weight) { return static_cast<u64>(weight * FIXED_POINT); }

// The place of a candidate in the order of likelihood.
DEVICE u64 place(u32 key, u32 token) { return static_cast<u64>(key) << INDEX_BITS | token; }

// The logits that are drawn from.
struct Draw {
    const float* logits;
    float maximum, scale, min_p;
    u32 vocab;

    DEVICE Draw(const Row& row, const float* logits, float maximum, u32 vocab)
        : logits(logits), maximum(maximum), scale(row.inverse_temperature), min_p(row.min_p), vocab(vocab) {}

    // The least key, should rules have made logits infinite.
    DEVICE u32 key(float logit) const { return float_to_bits(fminf(multiply_unfused(logit - maximum, scale), 0.0f)) & ~(1u << 31); }

    // The weight of a candidate; 0 for what is none.
    DEVICE float candidate(u32 key) const {
        float weight = weight_of(key);
        return weight >= min_p ? weight : 0.0f;
    }
};

// Where a key is counted.
DEVICE u32 bucket(u32 key) { return smaller(static_cast<u32>(bits_to_float(key) * BUCKETS_PER_UNIT), NUM_BUCKETS - 1); }

// How many candidates there are in a part of the order, and how likely they are together.
struct Mass {
    u64 weight;
    u32 count;

    DEVICE Mass operator+(const Mass& other) const { return {weight + other.weight, count + other.count}; }
};

// Candidates counted by buckets in shared memory; weights in two words, since there is no 64-bit atomic there.
struct Buckets {
    u32 *counts, *low, *high;

    DEVICE void clear(u32 bucket) const { counts[bucket] = low[bucket] = high[bucket] = 0; }

    DEVICE void add(u32 bucket, u32 count, u64 weight) const {
        u32 below = static_cast<u32>(weight), above = static_cast<u32>(weight >> 32);
        atomicAdd(counts + bucket, count);
        if (below && atomicAdd(low + bucket, below) + below < below) above++;
        if (above) atomicAdd(high + bucket, above);
    }

    DEVICE Mass mass(u32 bucket) const { return {static_cast<u64>(high[bucket]) << 32 | low[bucket], counts[bucket]}; }
};

// Half a warp: the sum of its lanes' numbers in double precision, in the order of the lanes, in every lane. The whole warp calls it.
DEVICE double add_lanes(float mine) {
    u32 first = threadIdx.x % WARP & LANES;
    double sum = 0.0;
#pragma unroll
    for (u32 lane = 0; lane < LANES; lane++) sum += static_cast<double>(__shfl_sync(ALL_LANES, mine, static_cast<int>(first + lane)));
    return sum;
}

}  // namespace sampling
