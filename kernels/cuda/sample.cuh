// What the three sampling kernels share: a row's order, its scratch memory, and the arithmetic of scores and weights.
//
// The kernels run one after the other: sample_adjust, sample_weigh, sample_finish. Together they do what models/src/sampling does, and
// choose the same token: scores, weights and the sums a draw walks along have the CPU's bits, which is why products are not fused and
// sums run over the same lanes. Sums that decide cuts are integers, so their order does not matter.
//
// A row is cut in *tiles* (one block of sample_adjust and sample_weigh each), *runs* (whose weights are summed up together, as on the
// CPU) and *granules* (which one warp reads together, and which a search may skip).
#pragma once
#include "ptx.cuh"

namespace sampling {

constexpr u32 GRANULE = 128, RUN = 1024, TILE = 4096;
constexpr u32 MAX_VOCAB = 1u << 20;
constexpr u32 NUM_BUCKETS = 1024;
constexpr u32 MAX_TOP = 20;
// Lanes of a sum.
constexpr u32 LANES = 16;

enum Mode : u32 { IDLE = 0, GREEDY = 1, RANDOM = 2, SCORE = 3 };
enum Status : u32 { OK = 0, NOT_FINITE = 1, NO_TOKEN_LEFT = 2 };

// Absent: a mask, a ranking, a slot, a token.
constexpr u32 NONE = 0xffffffffu;
// In a list of tokens: the token that a row of the previous step sampled.
constexpr u32 SAMPLED = 1u << 31;

// A piece of `lists`, in words.
struct Piece {
    u32 begin, count;
};

// One row's order; 96 bytes. Offsets and pieces lie in `lists`.
struct alignas(16) Row {
    u32 mode;
    float inverse_temperature;
    float min_p;  // 0: off
    u32 top_k;    // 0: off
    float top_p;  // 1: off
    u32 seed_low, seed_high, choice;
    u32 position;
    u32 target;   // of SCORE: the token that is scored
    u32 num_top;  // NONE: no ranking; else how many of the likeliest tokens are told with the rank
    u32 slot;     // where in `tokens` the chosen one goes; NONE: nowhere
    float repetition, presence, frequency;
    u32 mask;        // first of ceil(vocab / 32) words, bit v % 32 of word v / 32: v may come; NONE: all may
    Piece excluded;  // pairs {token, after}: the token must not come, if `after` is NONE or the last of `outputs`
    Piece biases;    // pairs {token, bits of an f32}, each token once
    Piece prompt;    // tokens of the prompt, as far as penalties look at them
    Piece outputs;   // tokens generated so far, or references to the previous step's
};
static_assert(sizeof(Row) == 96, "kernels/src/cuda/ops/sampling/rows.rs writes the same 24 words");

// What became of a row.
struct alignas(16) Result {
    u32 token;  // with NOT_FINITE: the lowest token whose logit is not finite
    float logprob;
    u32 status;
    u32 rank;
};

struct TokenLogprob {
    u32 token;
    float logprob;
};

// What sample_adjust leaves of a tile.
struct alignas(16) Extremes {
    u64 best;         // of the adjusted logits: ranked()
    u32 maximum;      // of the logits: ordered()
    u32 first_broken; // token; NONE if all is well
};

// Where a row's pieces of scratch memory lie, in bytes.
struct Scratch {
    u32 masses, total_runs, draw_runs, tops, extremes, counts, granule_keys, adjusted, bytes;

    HOST_AND_DEVICE constexpr explicit Scratch(u32 vocab)
        : masses(0),
          total_runs(masses + NUM_BUCKETS * 8),
          draw_runs(total_runs + 8 * ceil_div(vocab, RUN)),
          tops(draw_runs + 8 * ceil_div(vocab, RUN)),
          extremes((tops + 8 * MAX_TOP * ceil_div(vocab, TILE) + 15) / 16 * 16),
          counts(extremes + 16 * ceil_div(vocab, TILE)),
          granule_keys(counts + 4 * NUM_BUCKETS),
          adjusted(granule_keys + 4 * ceil_div(vocab, GRANULE)),
          bytes((adjusted + 4 * vocab + 15) / 16 * 16) {}
};

// A row's scratch memory, piece by piece.
struct RowScratch {
    u64* masses;        // [NUM_BUCKETS] sums of fixed-point weights
    double* total_runs; // [runs] sums of exp(logit - maximum)
    double* draw_runs;  // [runs] sums of weights, where nothing is cut by rank or mass
    u64* tops;          // [tiles, MAX_TOP] the tile's likeliest tokens: ranked()
    Extremes* extremes; // [tiles]
    u32* counts;        // [NUM_BUCKETS] candidates
    u32* granule_keys;  // [granules] the key of the likeliest candidate; NONE without one
    float* adjusted;    // [vocab] logits after all rules, where there are rules

    DEVICE RowScratch(u8* scratch, u32 row, u32 vocab) {
        Scratch at(vocab);
        u8* base = scratch + static_cast<u64>(row) * at.bytes;
        masses = reinterpret_cast<u64*>(base + at.masses);
        total_runs = reinterpret_cast<double*>(base + at.total_runs);
        draw_runs = reinterpret_cast<double*>(base + at.draw_runs);
        tops = reinterpret_cast<u64*>(base + at.tops);
        extremes = reinterpret_cast<Extremes*>(base + at.extremes);
        counts = reinterpret_cast<u32*>(base + at.counts);
        granule_keys = reinterpret_cast<u32*>(base + at.granule_keys);
        adjusted = reinterpret_cast<float*>(base + at.adjusted);
    }
};

DEVICE bool has_rules(const Row& row) {
    return row.mask != NONE || row.excluded.count + row.biases.count + row.prompt.count + row.outputs.count > 0;
}

// Whether candidates are cut by their rank or their mass, for which they must be counted first.
DEVICE bool is_cut(const Row& row, u32 vocab) { return row.mode == RANDOM && ((row.top_k > 0 && row.top_k < vocab) || row.top_p < 1.0f); }

// A float as a number of the same order; -0 and 0 are the same.
DEVICE u32 ordered(float value) {
    u32 bits = float_to_bits(value + 0.0f);
    return bits >> 31 ? ~bits : bits | 1u << 31;
}

DEVICE float from_ordered(u32 order) { return bits_to_float(order >> 31 ? order & ~(1u << 31) : ~order); }

// A token by its logit: the likelier the larger, of equals the lower id. Never 0.
DEVICE u64 ranked(float logit, u32 token) { return static_cast<u64>(ordered(logit)) << 32 | (NONE - token); }

DEVICE u32 token_of(u64 rank) { return NONE - static_cast<u32>(rank); }
DEVICE float logit_of(u64 rank) { return from_ordered(static_cast<u32>(rank >> 32)); }

DEVICE u64 warp_max(u64 value) {
#pragma unroll
    for (u32 flip = 16; flip; flip >>= 1) {
        u64 other = __shfl_xor_sync(ALL_LANES, value, flip);
        value = other > value ? other : value;
    }
    return value;
}

// Whole warp: the extremes of all its lanes, in every lane.
DEVICE Extremes merge_warp(Extremes mine) {
    mine.best = warp_max(mine.best);
#pragma unroll
    for (u32 flip = 16; flip; flip >>= 1) {
        u32 maximum = __shfl_xor_sync(ALL_LANES, mine.maximum, flip), broken = __shfl_xor_sync(ALL_LANES, mine.first_broken, flip);
        mine.maximum = maximum > mine.maximum ? maximum : mine.maximum;
        mine.first_broken = smaller(mine.first_broken, broken);
    }
    return mine;
}

DEVICE void include(Extremes& into, const Extremes& other) {
    into.best = other.best > into.best ? other.best : into.best;
    into.maximum = other.maximum > into.maximum ? other.maximum : into.maximum;
    into.first_broken = smaller(into.first_broken, other.first_broken);
}

// Whole warp: the row's extremes from those of its tiles.
DEVICE Extremes row_extremes(const Extremes* tiles, u32 num_tiles) {
    Extremes mine{0, 0, NONE};
    for (u32 tile = threadIdx.x % WARP; tile < num_tiles; tile += WARP) include(mine, tiles[tile]);
    return merge_warp(mine);
}

DEVICE u32 status_of(const Extremes& row) {
    if (row.first_broken != NONE || row.maximum == ordered(-INFINITY)) return NOT_FINITE;
    return logit_of(row.best) == -INFINITY ? NO_TOKEN_LEFT : OK;
}

}  // namespace sampling
