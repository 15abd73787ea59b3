// Second of three sampling kernels: exponentials of a row, summed up as the next one needs them.
//
//   total_runs[r]   = sum of exp(logit - maximum) over run r, for log-probabilities
//   draw_runs[r]    = sum of the candidates' weights over run r, for a draw without cuts by rank or mass
//   masses, counts  = the candidates in buckets of 1/32 of their score, and granule_keys the best of each granule, for such cuts
//   tops[t]         = the likeliest tokens of tile t, where they are asked for
//
//   logits    [rows, vocab]   f32
//   orders    [rows]          Row
//   scratch   [rows, Scratch(vocab).bytes]    as sample_adjust left it
//
// Grid     (ceil(vocab / TILE), rows), 256 threads: one tile a block.
// Shared   30 KiB.
// Numbers  weights in f32, added up over 16 lanes of a run in f32 and across lanes in f64, as on the CPU; masses in fixed point.
// Order    runs do not meet here, and masses are integers: no sum depends on the order of blocks or on other rows.
// Cost     4 * vocab bytes a row (8 with rules), 2 exponentials a token.
// Needs    sm_80 or later.
// Trusts   kernels/src/cuda/ops/sampling.rs.
// Tested   emu/test_sampling_draw.cpp and emu/test_sampling_golden.cpp.
#include "sample_top.cuh"
#include "sample_weights.cuh"

namespace sampling {

constexpr u32 WEIGH_THREADS = 256, WEIGH_WARPS = WEIGH_THREADS / WARP, WEIGHTS_PER_THREAD = TILE / WEIGH_THREADS, RUNS_PER_TILE = TILE / RUN;
// Runs stand this far apart in shared memory, so that two half warps read different banks.
constexpr u32 RUN_STRIDE = RUN + LANES;

// The `i`-th of a thread's tokens, from the tile's start: a warp reads a granule in four parts.
DEVICE u32 weighed_token(u32 i) { return threadIdx.x / WARP * GRANULE + i / 4 * (WEIGH_WARPS * GRANULE) + i % 4 * WARP + threadIdx.x % WARP; }

DEVICE u32 staged_at(u32 token) { return token / RUN * RUN_STRIDE + token % RUN; }

// Adds up the staged numbers of each run of the tile. Barriers stand around it.
DEVICE void sum_runs(const float* staged, double* runs, u32 vocab) {
    u32 run = threadIdx.x / LANES, lane = threadIdx.x % LANES;
    if (run >= RUNS_PER_TILE) return;
    float sum = 0.0f;
#pragma unroll 8
    for (u32 i = 0; i < RUN / LANES; i++) sum += staged[run * RUN_STRIDE + i * LANES + lane];
    double total = add_lanes(sum);
    u32 first = blockIdx.x * RUNS_PER_TILE + run;
    if (lane == 0 && first < ceil_div(vocab, RUN)) runs[first] = total;
}

// Writes the tile's likeliest tokens.
DEVICE void find_tops(const float (&values)[WEIGHTS_PER_THREAD], u32 size, u32 count, u64* warps, u64* out) {
    u32 warp = threadIdx.x / WARP;
    auto own = [&](u64 limit) {
        u64 best = 0;
#pragma unroll
        for (u32 i = 0; i < WEIGHTS_PER_THREAD; i++) {
            u64 rank = weighed_token(i) < size ? ranked(values[i], blockIdx.x * TILE + weighed_token(i)) : 0;
            if (rank < limit && rank > best) best = rank;
        }
        return best;
    };
    best_of_warp(count, own, warps + warp * count);
    __syncthreads();
    if (warp == 0) best_of_warp(count, [&](u64 limit) { return best_of_list(warps, WEIGH_WARPS * count, limit); }, out);
}

// Counts the tile's candidates in buckets, and finds the best of each granule.
DEVICE void count_candidates(const u32 (&keys)[WEIGHTS_PER_THREAD], const Draw& draw, u32 size, const Buckets& buckets, u32* granule_keys) {
    Mass far{0, 0};
    u32 granule_key = NONE;
    // A warp's granules lie WEIGH_WARPS apart.
    u32 granule = blockIdx.x * (TILE / GRANULE) + threadIdx.x / WARP;
#pragma unroll
    for (u32 i = 0; i < WEIGHTS_PER_THREAD; i++) {
        float weight = weighed_token(i) < size ? draw.candidate(keys[i]) : 0.0f;
        if (weight > 0.0f) {
            granule_key = smaller(granule_key, keys[i]);
            u32 at = bucket(keys[i]);
            // At a low temperature most tokens are in the last bucket: there they would wait for each other.
            if (at == NUM_BUCKETS - 1)
                far = far + Mass{fixed_point(weight), 1};
            else
                buckets.add(at, 1, fixed_point(weight));
        }
        if (i % 4 != 3) continue;
#pragma unroll
        for (u32 flip = 16; flip; flip >>= 1) granule_key = smaller(granule_key, __shfl_xor_sync(ALL_LANES, granule_key, flip));
        if (threadIdx.x % WARP == 0 && granule < ceil_div(draw.vocab, GRANULE)) granule_keys[granule] = granule_key;
        granule += WEIGH_WARPS;
        granule_key = NONE;
    }
#pragma unroll
    for (u32 flip = 16; flip; flip >>= 1) far = far + Mass{__shfl_xor_sync(ALL_LANES, far.weight, flip), __shfl_xor_sync(ALL_LANES, far.count, flip)};
    if (threadIdx.x % WARP == 0 && far.count > 0) buckets.add(NUM_BUCKETS - 1, far.count, far.weight);
}

}  // namespace sampling

KERNEL(256, 2) sample_weigh(const float* logits, const sampling::Row* orders, u8* scratch, u32 vocab) {
    using namespace sampling;
    SHARED_ARRAY(float, staged, RUNS_PER_TILE * RUN_STRIDE);
    SHARED_ARRAY(u32, counted, 3 * NUM_BUCKETS);
    SHARED_ARRAY(u64, warp_tops, WEIGH_WARPS * MAX_TOP);
    let_next_kernel_start();
    wait_for_previous_kernel();
    const Row row = orders[blockIdx.y];
    if (row.mode == IDLE) return;
    RowScratch to(scratch, blockIdx.y, vocab);
    Extremes extremes = row_extremes(to.extremes, gridDim.x);
    if (status_of(extremes) != OK) return;
    u32 first = blockIdx.x * TILE, size = smaller(TILE, vocab - first);
    const float* from = logits + static_cast<u64>(blockIdx.y) * vocab;

    float values[WEIGHTS_PER_THREAD];
#pragma unroll
    for (u32 i = 0; i < WEIGHTS_PER_THREAD; i++) values[i] = weighed_token(i) < size ? from[first + weighed_token(i)] : -INFINITY;
    float maximum = from_ordered(extremes.maximum);
#pragma unroll
    for (u32 i = 0; i < WEIGHTS_PER_THREAD; i++) staged[staged_at(weighed_token(i))] = weighed_token(i) < size ? exp_or_tiny(values[i] - maximum) : 0.0f;
    __syncthreads();
    sum_runs(staged, to.total_runs, vocab);
    if (row.num_top != NONE && row.num_top > 0) find_tops(values, size, row.num_top, warp_tops, to.tops + blockIdx.x * row.num_top);
    if (row.mode != RANDOM) return;

    if (has_rules(row)) {
#pragma unroll
        for (u32 i = 0; i < WEIGHTS_PER_THREAD; i++) values[i] = weighed_token(i) < size ? to.adjusted[first + weighed_token(i)] : -INFINITY;
    }
    Draw draw(row, has_rules(row) ? to.adjusted : from, logit_of(extremes.best), vocab);
    u32 keys[WEIGHTS_PER_THREAD];
#pragma unroll
    for (u32 i = 0; i < WEIGHTS_PER_THREAD; i++) keys[i] = draw.key(values[i]);
    __syncthreads();
    if (!is_cut(row, vocab)) {
#pragma unroll
        for (u32 i = 0; i < WEIGHTS_PER_THREAD; i++) staged[staged_at(weighed_token(i))] = weighed_token(i) < size ? draw.candidate(keys[i]) : 0.0f;
        __syncthreads();
        sum_runs(staged, to.draw_runs, vocab);
        return;
    }
    Buckets buckets{counted, counted + NUM_BUCKETS, counted + 2 * NUM_BUCKETS};
    for (u32 i = threadIdx.x; i < NUM_BUCKETS; i += WEIGH_THREADS) buckets.clear(i);
    __syncthreads();
    count_candidates(keys, draw, size, buckets, to.granule_keys);
    __syncthreads();
    for (u32 i = threadIdx.x; i < NUM_BUCKETS; i += WEIGH_THREADS) {
        Mass mass = buckets.mass(i);
        if (mass.count == 0) continue;
        atomicAdd(to.counts + i, mass.count);
        atomicAdd(to.masses + i, mass.weight);
    }
}
