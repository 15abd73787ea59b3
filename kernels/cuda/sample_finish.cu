// Last of three sampling kernels: makes the cuts, draws, and tells the token with its log-probability and ranking.
//
//   logits    [rows, vocab]   f32
//   orders    [rows]          Row
//   scratch   [rows, Scratch(vocab).bytes]    as sample_weigh left it
//   tokens    [slots]         u32             the chosen token at the row's slot; 0 where the row failed
//   results   [rows]          Result
//   tops      [rows, MAX_TOP] TokenLogprob    the first num_top are written; token NONE where the vocabulary has no more
//
// Idle rows write nothing.
//
// Grid     (rows), 1024 threads.
// Shared   29 KiB.
// Numbers  log-probabilities from sums in f64 under the logits as the model gave them, whatever rules and cuts did.
// Order    sums that a draw walks along have the CPU's bits; within the run where it ends they are f64 in a fixed order.
// Cost     latency: a row without cuts reads what was summed up; with cuts also granules above the edge, mostly few; a ranking reads the row.
// Needs    sm_80 or later.
// Trusts   kernels/src/cuda/ops/sampling.rs.
// Tested   emu/test_sampling_draw.cpp, against f64, and emu/test_sampling_golden.cpp, against choices of the CPU path.
// Source   Salmon, Moraes, Dror and Shaw, "Parallel Random Numbers: As Easy as 1, 2, 3", SC 2011.
#include "sample_cut.cuh"
#include "sample_top.cuh"

namespace sampling {

// A counter or a key of Philox4x32-10.
struct Words {
    u32 x, y, z, w;
};

DEVICE Words philox(Words counter, u32 key_low, u32 key_high) {
    for (u32 round = 0; round < 10; round++) {
        u32 high_0 = __umulhi(0xd2511f53u, counter.x), low_0 = 0xd2511f53u * counter.x;
        u32 high_1 = __umulhi(0xcd9e8d57u, counter.z), low_1 = 0xcd9e8d57u * counter.z;
        counter = {high_1 ^ counter.y ^ key_low, low_1, high_0 ^ counter.w ^ key_high, low_0};
        key_low += 0x9e3779b9u;
        key_high += 0xbb67ae85u;
    }
    return counter;
}

// The number in [0, 1) that chooses the row's token: the key from seed and choice, the counter from the position.
DEVICE double uniform(const Row& row) {
    constexpr u32 KEY_DOMAIN = 1, DRAW_DOMAIN = 0;
    Words key = philox({row.choice, 0, 0, KEY_DOMAIN}, row.seed_low, row.seed_high);
    Words words = philox({row.position, 0, 0, DRAW_DOMAIN}, key.x, key.y);
    u64 bits = static_cast<u64>(words.x) << 21 ^ words.y >> 11;
    return static_cast<double>(bits) * (1.0 / 9007199254740992.0);
}

// What the block shares beside the search's tables.
struct Shared {
    double normaliser;  // of log-probabilities
    double rest;        // of the weight that a draw walks along, from the chosen run's start
    u32 chosen_run, first, last, rank;
    Search search;
};

// Half a warp: the summed weights of a run's candidates that are kept. The whole warp calls it, for two runs.
DEVICE double sum_kept(const Draw& draw, const u32* granule_keys, u64 last, u32 run) {
    constexpr u32 GRANULES = RUN / GRANULE;
    u32 lane = threadIdx.x % LANES, highest_key = static_cast<u32>(last >> INDEX_BITS), num_granules = ceil_div(draw.vocab, GRANULE);
    u32 granule = run * GRANULES + lane % GRANULES;
    u32 wanted = __ballot_sync(ALL_LANES, granule < num_granules && granule_keys[granule] <= highest_key) >> (threadIdx.x % WARP & LANES);
    float sum = 0.0f;
    for (u32 i = 0; i < GRANULES; i++) {
        if (!(wanted >> i & 1)) continue;
        u32 first = run * RUN + i * GRANULE + lane;
        float logits[GRANULE / LANES];
#pragma unroll
        for (u32 j = 0; j < GRANULE / LANES; j++) logits[j] = first + j * LANES < draw.vocab ? draw.logits[first + j * LANES] : -INFINITY;
#pragma unroll
        for (u32 j = 0; j < GRANULE / LANES; j++) {
            u32 key = draw.key(logits[j]);
            if (place(key, first + j * LANES) <= last) sum += draw.candidate(key);
        }
    }
    return add_lanes(sum);
}

// Finds the run in which the draw ends, in one thread, step by step as the CPU does.
DEVICE void walk_runs(const double* runs, u32 num_runs, double uniform, Shared& shared) {
    double total = 0.0;
    for (u32 run = 0; run < num_runs; run++) total += runs[run];
    double rest = multiply_unfused(total, uniform);
    u32 chosen = 0;
    // Should rounding lead past the end: the last one with candidates.
    for (u32 run = 0; run < num_runs; run++) {
        if (!(runs[run] > 0.0)) continue;
        chosen = run;
        if (rest < runs[run]) break;
        rest -= runs[run];
    }
    shared.chosen_run = chosen;
    shared.rest = rest;
}

// The token in the chosen run at which the rest of the weight is used up.
DEVICE u32 walk_tokens(const Draw& draw, u64 last, double* totals, Shared& shared) {
    static_assert(RUN == FINISH_THREADS, "a thread looks at one token");
    u32 token = shared.chosen_run * RUN + threadIdx.x;
    u32 key = token < draw.vocab ? draw.key(draw.logits[token]) : NONE;
    float weight = place(key, token) <= last ? draw.candidate(key) : 0.0f;
    double after = sum_up_to_thread(static_cast<double>(weight), totals);
    if (weight > 0.0f) {
        atomicMax(&shared.last, token);
        if (shared.rest - after < 0.0) atomicMin(&shared.first, token);
    }
    __syncthreads();
    return shared.first != NONE ? shared.first : shared.last;
}

// What a row tells beside its token.
struct Report {
    const float* logits;
    double normaliser;
    u32 vocab;

    DEVICE float logprob(float logit) const { return static_cast<float>(static_cast<double>(logit) - normaliser); }

    // How many tokens are at least as likely; the block counts together in `rank`, which is 0.
    DEVICE void count_rank(float logit, u32* rank) const {
        u32 count = 0;
#pragma unroll 8
        for (u32 token = threadIdx.x; token < vocab; token += FINISH_THREADS) count += logits[token] >= logit;
        atomicAdd(rank, count);
    }

    // The first warp tells the likeliest of the row.
    DEVICE void tell_tops(const u64* of_tiles, u32 count, u64* best, TokenLogprob* out) const {
        u32 lane = threadIdx.x, len = ceil_div(vocab, TILE) * count;
        best_of_warp(count, [&](u64 limit) { return best_of_list(of_tiles, len, limit); }, best);
        __syncwarp();
        if (lane >= count) return;
        u64 rank = best[lane];
        out[lane] = rank ? TokenLogprob{token_of(rank), logprob(logit_of(rank))} : TokenLogprob{NONE, -INFINITY};
    }
};

}  // namespace sampling

KERNEL(1024, 1) sample_finish(const float* logits, const sampling::Row* orders, u8* scratch, u32* tokens, sampling::Result* results, sampling::TokenLogprob* tops, u32 vocab) {
    using namespace sampling;
    SHARED_ARRAY(Shared, the_shared, 1);
    SHARED_ARRAY(u32, counted, 3 * NUM_BUCKETS);
    SHARED_ARRAY(u64, members, FINISH_THREADS);
    SHARED_ARRAY(double, runs, MAX_VOCAB / RUN);
    SHARED_ARRAY(Mass, masses, FINISH_WARPS);
    SHARED_ARRAY(double, totals, FINISH_WARPS);
    let_next_kernel_start();
    wait_for_previous_kernel();
    const Row row = orders[blockIdx.x];
    if (row.mode == IDLE) return;
    Shared& shared = the_shared[0];
    RowScratch from(scratch, blockIdx.x, vocab);
    const float* own = logits + static_cast<u64>(blockIdx.x) * vocab;
    Extremes extremes = row_extremes(from.extremes, ceil_div(vocab, TILE));
    u32 status = status_of(extremes), num_runs = ceil_div(vocab, RUN);
    if (status != OK) {
        if (threadIdx.x != 0) return;
        results[blockIdx.x] = Result{status == NOT_FINITE && extremes.first_broken != NONE ? extremes.first_broken : 0, -INFINITY, status, 0};
        if (row.slot != NONE) tokens[row.slot] = 0;
        return;
    }
    if (threadIdx.x == 0) shared.first = NONE, shared.last = shared.rank = 0;
    Draw draw(row, has_rules(row) ? from.adjusted : own, logit_of(extremes.best), vocab);
    u64 last = LAST_PLACE;
    if (row.mode == RANDOM && is_cut(row, vocab)) {
        Cutter cutter{draw, from.granule_keys, {counted, counted + NUM_BUCKETS, counted + 2 * NUM_BUCKETS}, members, masses, &shared.search};
        last = cut(cutter, row, from);
        for (u32 pair = threadIdx.x / WARP; pair * 2 < num_runs; pair += FINISH_WARPS) {
            u32 run = pair * 2 + threadIdx.x / LANES % 2;
            double sum = sum_kept(draw, from.granule_keys, last, run);
            if (run < num_runs && threadIdx.x % LANES == 0) runs[run] = sum;
        }
    } else if (row.mode == RANDOM) {
        for (u32 run = threadIdx.x; run < num_runs; run += FINISH_THREADS) runs[run] = from.draw_runs[run];
    }
    __syncthreads();
    if (threadIdx.x == 0 && row.mode == RANDOM) walk_runs(runs, num_runs, uniform(row), shared);
    if (threadIdx.x == WARP) {
        double total = 0.0;
        for (u32 run = 0; run < num_runs; run++) total += from.total_runs[run];
        shared.normaliser = static_cast<double>(from_ordered(extremes.maximum)) + log(total);
    }
    __syncthreads();
    u32 token = row.mode == SCORE ? row.target : token_of(extremes.best);
    if (row.mode == RANDOM) token = walk_tokens(draw, last, totals, shared);

    Report report{own, shared.normaliser, vocab};
    if (row.num_top != NONE) report.count_rank(own[token], &shared.rank);
    __syncthreads();
    if (row.num_top != NONE && row.num_top > 0 && threadIdx.x < WARP) report.tell_tops(from.tops, row.num_top, members, tops + blockIdx.x * MAX_TOP);
    if (threadIdx.x != 0) return;
    results[blockIdx.x] = Result{token, report.logprob(own[token]), OK, shared.rank};
    if (row.slot != NONE) tokens[row.slot] = token;
}
