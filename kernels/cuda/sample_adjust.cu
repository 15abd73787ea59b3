// First of three sampling kernels: what a request's rules do to its logits, and the largest before and after.
//
//   in this order: only tokens of the mask; none that is excluded; biases; penalties for repetition, then frequency and presence
//
//   logits    [rows, vocab]          f32    left as they are
//   orders    [rows]                 Row
//   lists     masks, pairs and tokens that the orders point to, u32
//   previous  [slots]                u32    tokens of the previous step, for references in lists of outputs
//   scratch   [rows, Scratch(vocab).bytes]
//
// Grid     (ceil(vocab / TILE), rows), 256 threads: a block adjusts one tile, and clears its share of the row's buckets.
// Shared   33 KiB.
// Numbers  f32, products unfused: adjusted logits have the CPU's bits.
// Order    nothing depends on another row, nor on the order of threads: sums are of integers.
// Cost     memory bound: 4 * vocab bytes a row, twice that with rules, and every tile reads the row's lists.
// Needs    sm_80 or later.
// Trusts   kernels/src/cuda/ops/sampling.rs: vocab <= MAX_VOCAB; what the lists hold was checked there.
// Tested   emu/test_sampling_draw.cpp and emu/test_sampling_golden.cpp.
#include "sample_weights.cuh"

namespace sampling {

constexpr u32 ADJUST_THREADS = 256, PER_THREAD = TILE / ADJUST_THREADS;
// Beside how often a token was generated.
constexpr u32 IN_PROMPT = 1u << 31, EXCLUDED = 1u << 30, TIMES = EXCLUDED - 1;

// The `i`-th of a thread's tokens, from the tile's start: a warp reads 32 that lie together.
DEVICE u32 token_in_tile(u32 i) { return threadIdx.x / WARP * GRANULE + i / 4 * (8 * GRANULE) + i % 4 * WARP + threadIdx.x % WARP; }

// A tile of logits under its rules, in shared memory.
struct Tile {
    float* values;
    u32* marks;
    u32 first, size;

    // Calls `act` with each token of `list` that is in the tile, counted from its start, and the word behind it.
    template <class Act>
    DEVICE void for_each(const u32* list, u32 len, u32 stride, const u32* previous, Act act) const {
        for (u32 i = threadIdx.x * stride; i < len * stride; i += ADJUST_THREADS * stride) {
            u32 token = list[i];
            if (token & SAMPLED) token = previous[token & ~SAMPLED];
            if (token - first < size) act(token - first, i);
        }
    }
};

// Marks the tile's tokens that are excluded or have come, and adds biases.
DEVICE void mark(const Tile& tile, const Row& row, const u32* lists, const u32* previous) {
    const u32 *excluded = lists + row.excluded.begin, *biases = lists + row.biases.begin;
    const u32 *outputs = lists + row.outputs.begin, *prompt = lists + row.prompt.begin;
    u32 last = NONE;
    if (row.outputs.count > 0 && row.excluded.count > 0) {
        last = outputs[row.outputs.count - 1];
        if (last & SAMPLED) last = previous[last & ~SAMPLED];
    }
    tile.for_each(excluded, row.excluded.count, 2, previous, [&](u32 at, u32 i) {
        u32 after = excluded[i + 1];
        if (after == NONE || after == last) atomicOr(tile.marks + at, EXCLUDED);
    });
    tile.for_each(biases, row.biases.count, 2, previous, [&](u32 at, u32 i) { tile.values[at] += bits_to_float(biases[i + 1]); });
    tile.for_each(prompt, row.prompt.count, 1, previous, [&](u32 at, u32) { atomicOr(tile.marks + at, IN_PROMPT); });
    tile.for_each(outputs, row.outputs.count, 1, previous, [&](u32 at, u32) { atomicAdd(tile.marks + at, 1u); });
}

DEVICE float penalised(const Row& row, float logit, u32 marks) {
    if (marks & EXCLUDED) return -INFINITY;
    if (marks == 0) return logit;
    u32 times = marks & TIMES;
    float scaled = logit > 0.0f ? logit / row.repetition : multiply_unfused(logit, row.repetition);
    return scaled - multiply_unfused(row.frequency, static_cast<float>(times)) - (times > 0 ? row.presence : 0.0f);
}

// Applies all rules to a thread's logits.
DEVICE void adjust(float (&values)[PER_THREAD], const Tile& tile, const Row& row, const u32* lists, const u32* previous) {
#pragma unroll
    for (u32 i = 0; i < PER_THREAD; i++) {
        u32 at = token_in_tile(i);
        if (row.mask != NONE && at < tile.size) {
            u32 token = tile.first + at;
            if (!(lists[row.mask + token / 32] >> token % 32 & 1)) values[i] = -INFINITY;
        }
        tile.values[at] = values[i];
        tile.marks[at] = 0;
    }
    __syncthreads();
    mark(tile, row, lists, previous);
    __syncthreads();
#pragma unroll
    for (u32 i = 0; i < PER_THREAD; i++) values[i] = penalised(row, tile.values[token_in_tile(i)], tile.marks[token_in_tile(i)]);
}

}  // namespace sampling

KERNEL(256, 2) sample_adjust(const float* logits, const sampling::Row* orders, const u32* lists, const u32* previous, u8* scratch, u32 vocab) {
    using namespace sampling;
    SHARED_ARRAY(float, tile_values, TILE);
    SHARED_ARRAY(u32, tile_marks, TILE);
    SHARED_ARRAY(Extremes, warps, ADJUST_THREADS / WARP);
    let_next_kernel_start();
    wait_for_previous_kernel();
    const Row row = orders[blockIdx.y];
    if (row.mode == IDLE) return;
    RowScratch to(scratch, blockIdx.y, vocab);
    const float* from = logits + static_cast<u64>(blockIdx.y) * vocab;
    Tile tile{tile_values, tile_marks, blockIdx.x * TILE, smaller(TILE, vocab - blockIdx.x * TILE)};
    for (u32 i = blockIdx.x * ADJUST_THREADS + threadIdx.x; i < NUM_BUCKETS; i += gridDim.x * ADJUST_THREADS) to.masses[i] = 0, to.counts[i] = 0;

    float values[PER_THREAD];
    Extremes mine{0, 0, NONE};
#pragma unroll
    for (u32 i = 0; i < PER_THREAD; i++) values[i] = token_in_tile(i) < tile.size ? from[tile.first + token_in_tile(i)] : -INFINITY;
#pragma unroll
    for (u32 i = 0; i < PER_THREAD; i++) {
        if (token_in_tile(i) >= tile.size) continue;
        // Written so that NaN is broken too.
        if (!(values[i] < INFINITY)) mine.first_broken = smaller(mine.first_broken, tile.first + token_in_tile(i));
        u32 order = ordered(values[i]);
        mine.maximum = order > mine.maximum ? order : mine.maximum;
    }
    if (has_rules(row)) {
        adjust(values, tile, row, lists, previous);
#pragma unroll
        for (u32 i = 0; i < PER_THREAD; i++)
            if (token_in_tile(i) < tile.size) to.adjusted[tile.first + token_in_tile(i)] = values[i];
    }
#pragma unroll
    for (u32 i = 0; i < PER_THREAD; i++) {
        u64 rank = token_in_tile(i) < tile.size ? ranked(values[i], tile.first + token_in_tile(i)) : 0;
        mine.best = rank > mine.best ? rank : mine.best;
    }
    mine = merge_warp(mine);
    if (threadIdx.x % WARP == 0) warps[threadIdx.x / WARP] = mine;
    __syncthreads();
    if (threadIdx.x != 0) return;
    for (u32 warp = 1; warp < ADJUST_THREADS / WARP; warp++) include(mine, warps[warp]);
    to.extremes[blockIdx.x] = mine;
}
