// Where a cut by rank (top-k) or by mass (top-p) falls: the last candidate that is kept, found without sorting the vocabulary.
//
// sample_weigh has counted the candidates in buckets. The bucket in which the wanted count or mass is reached is searched on: as long
// as it holds more candidates than the block has threads, it is divided into buckets again; then its members are sorted. Every step
// keeps what stands before, so the result is that of sorting everything. Called by a block of 1024 threads.
#pragma once
#include "sample_weights.cuh"

namespace sampling {

constexpr u32 FINISH_THREADS = 1024, FINISH_WARPS = FINISH_THREADS / WARP;
static_assert(FINISH_THREADS == NUM_BUCKETS, "a thread looks at one bucket");

DEVICE double shifted_up(double value, u32 by) { return __shfl_up_sync(ALL_LANES, value, by); }
DEVICE Mass shifted_up(Mass value, u32 by) { return {__shfl_up_sync(ALL_LANES, value.weight, by), __shfl_up_sync(ALL_LANES, value.count, by)}; }

DEVICE double flipped(double value, u32 flip) { return __shfl_xor_sync(ALL_LANES, value, flip); }
DEVICE Mass flipped(Mass value, u32 flip) { return {__shfl_xor_sync(ALL_LANES, value.weight, flip), __shfl_xor_sync(ALL_LANES, value.count, flip)}; }

// The sum over this thread and all before it. `totals` has a place for each warp; the call begins with a barrier.
template <class T>
DEVICE T sum_up_to_thread(T mine, T* totals) {
    u32 lane = threadIdx.x % WARP, warp = threadIdx.x / WARP;
#pragma unroll
    for (u32 by = 1; by < WARP; by *= 2) {
        T other = shifted_up(mine, by);
        if (lane >= by) mine = other + mine;
    }
    __syncthreads();
    if (lane == WARP - 1) totals[warp] = mine;
    __syncthreads();
    T before = lane < warp ? totals[lane] : T{};
#pragma unroll
    for (u32 flip = 16; flip; flip >>= 1) before = before + flipped(before, flip);
    return before + mine;
}

// How much a cut keeps: candidates, or fixed-point weight.
struct Amount {
    bool is_weight;
    u64 wanted;

    DEVICE bool is_reached(const Mass& mass) const { return (is_weight ? mass.weight : mass.count) >= wanted; }
};

// What a search knows, in shared memory.
struct Search {
    u64 low, high;  // the last kept one has a place from low to high
    Mass before;    // of the candidates before low
    u32 members;    // candidates from low to high; 0 if all candidates together are not enough
    u32 cursor;
};

struct Cutter {
    Draw draw;
    const u32* granule_keys;
    Buckets buckets;
    u64* members;  // [FINISH_THREADS]
    Mass* totals;  // [FINISH_WARPS]
    Search* search;

    // Calls `act` with place and weight of every candidate from low to high; each warp takes every FINISH_WARPS-th granule.
    template <class Act>
    DEVICE void for_each(u64 low, u64 high, Act act) const {
        u32 lane = threadIdx.x % WARP, warp = threadIdx.x / WARP, highest_key = static_cast<u32>(high >> INDEX_BITS);
        u32 num_granules = ceil_div(draw.vocab, GRANULE);
        for (u32 first = warp; first < num_granules; first += FINISH_WARPS * WARP) {
            u32 mine = first + lane * FINISH_WARPS;
            u32 wanted = __ballot_sync(ALL_LANES, mine < num_granules && granule_keys[mine] <= highest_key);
            while (wanted) {
                float logits[8];
                u32 tokens[8];
                // Two granules at a time, so that enough loads are under way.
#pragma unroll
                for (u32 i = 0; i < 8; i++) {
                    u32 granule = first + lowest_bit(wanted) * FINISH_WARPS;
                    tokens[i] = wanted ? granule * GRANULE + i % 4 * WARP + lane : NONE;
                    logits[i] = tokens[i] < draw.vocab ? draw.logits[tokens[i]] : -INFINITY;
                    if (i % 4 == 3) wanted &= wanted - 1;
                }
#pragma unroll
                for (u32 i = 0; i < 8; i++) {
                    u32 key = draw.key(logits[i]);
                    u64 at = place(key, tokens[i]);
                    float weight = tokens[i] < draw.vocab && at >= low && at <= high ? draw.candidate(key) : 0.0f;
                    if (weight > 0.0f) act(at, weight);
                }
            }
        }
    }

    // Finds the bucket, thread by thread, in which the amount is reached. Bucket `i` begins at low + (i << shift).
    DEVICE void choose_bucket(Mass mine, Amount amount, bool is_first, u32 shift) const {
        u64 low = search->low, high = search->high;
        Mass before = search->before;
        Mass after = before + sum_up_to_thread(mine, totals);
        before = {after.weight - mine.weight, after.count - mine.count};
        if (!amount.is_reached(after) || amount.is_reached(before)) return;
        u32 i = threadIdx.x;
        if (is_first) {
            low = place(first_key(i), 0);
            high = place(i + 1 < NUM_BUCKETS ? first_key(i + 1) - 1 : HIGHEST_KEY, MAX_VOCAB - 1);
        } else {
            low += static_cast<u64>(i) << shift;
            u64 end = low + (1ull << shift) - 1;
            high = end < high ? end : high;
        }
        *search = Search{low, high, before, mine.count, 0};
    }

    DEVICE static u32 first_key(u32 bucket) { return float_to_bits(static_cast<float>(bucket) / BUCKETS_PER_UNIT); }

    // Divides the chosen bucket until it has at most one member a thread.
    DEVICE void narrow(Amount amount) const {
        while (search->members > FINISH_THREADS) {
            u64 low = search->low, high = search->high;
            u32 shift = 0;
            while ((high - low) >> shift >= NUM_BUCKETS) shift++;
            buckets.clear(threadIdx.x);
            __syncthreads();
            for_each(low, high, [&](u64 at, float weight) { buckets.add(static_cast<u32>((at - low) >> shift), 1, fixed_point(weight)); });
            __syncthreads();
            choose_bucket(buckets.mass(threadIdx.x), amount, false, shift);
            __syncthreads();
        }
    }

    // Puts the members into order.
    DEVICE void sort_members() const {
        u32 i = threadIdx.x, len = 1;
        while (len < search->members) len *= 2;
        for (u32 width = 2; width <= len; width *= 2)
            for (u32 step = width / 2; step > 0; step /= 2) {
                __syncthreads();
                u32 other = i ^ step;
                if (other < i || i >= len) continue;
                u64 a = members[i], b = members[other];
                bool is_falling = i & width;
                if ((a > b) == is_falling) continue;
                members[i] = b;
                members[other] = a;
            }
        __syncthreads();
    }

    // The place of the last candidate to keep, and in `kept` what is kept; LAST_PLACE if all candidates together do not reach the amount.
    DEVICE u64 last_kept(Mass bucket_mass, Amount amount, Mass& kept) const {
        if (threadIdx.x == 0) *search = Search{0, 0, {0, 0}, 0, 0};
        __syncthreads();
        choose_bucket(bucket_mass, amount, true, 0);
        __syncthreads();
        if (search->members == 0) return LAST_PLACE;
        narrow(amount);
        members[threadIdx.x] = LAST_PLACE;
        __syncthreads();
        for_each(search->low, search->high, [&](u64 at, float) { members[atomicAdd(&search->cursor, 1u)] = at; });
        __syncthreads();
        sort_members();
        u64 mine = members[threadIdx.x];
        Mass mass{0, 0};
        if (mine != LAST_PLACE) mass = {fixed_point(weight_of(static_cast<u32>(mine >> INDEX_BITS))), 1};
        Mass after = search->before;
        after = after + sum_up_to_thread(mass, totals);
        Mass before{after.weight - mass.weight, after.count - mass.count};
        if (amount.is_reached(after) && !amount.is_reached(before)) search->high = mine, search->before = after;
        __syncthreads();
        kept = search->before;
        u64 last = search->high;
        // The next search writes here.
        __syncthreads();
        return last;
    }
};

// Makes the cuts in their order, each of what the one before left; the place of the last candidate that stays.
DEVICE u64 cut(const Cutter& cutter, const Row& row, const RowScratch& scratch) {
    Mass mine{scratch.masses[threadIdx.x], scratch.counts[threadIdx.x]};
    Mass kept{0, 0};
    u64 last = LAST_PLACE;
    if (row.top_k > 0) last = cutter.last_kept(mine, Amount{false, row.top_k}, kept);
    if (row.top_p >= 1.0f) return last;
    if (last == LAST_PLACE) {
        // The last thread's sum is that of all.
        Mass all = sum_up_to_thread(mine, cutter.totals);
        if (threadIdx.x == FINISH_THREADS - 1) cutter.search->before = all;
        __syncthreads();
        kept = cutter.search->before;
        __syncthreads();
    }
    double wanted = multiply_unfused(static_cast<double>(kept.weight), static_cast<double>(row.top_p));
    u64 whole = static_cast<u64>(wanted);
    if (static_cast<double>(whole) < wanted) whole++;
    return cutter.last_kept(mine, Amount{true, whole > 0 ? whole : 1}, kept);
}

}  // namespace sampling
