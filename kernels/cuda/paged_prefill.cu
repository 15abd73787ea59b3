// Attention of prompt chunks over a paged KV cache: many queries per sequence, causal, with any cached prefix before them.
//
//   out[t, h, :] = softmax(scale * q[t, h, :] . K[0..=p, g, :]^T) V[0..=p, g, :],  p = kv_len - query_len + (t - query_start)
//
//   qkv           [T, qkv_stride]                      bf16   the heads of q stand first in a row
//   k_cache       [blocks, kv_heads, block_size, D]    bf16 or e4m3; block_size a multiple of 16; v_cache alike
//   query_starts  [S]                                  u32    first row of qkv and out of each sequence
//   query_lens    [S]                                  u32    0: nothing to do
//   kv_lens       [S]                                  u32    the chunk's own tokens included
//   block_tables  [S, table_stride]                    u32    entries past the last used one are never read
//   out           [T, heads * D]                       bf16
//
// D        is a kernel's own 64, 128 or 256, or for `_upto` kernels head_dim, a multiple of 16 up to that: the columns from D on are
//          zeros in shared memory, which nobody reads from the cache.
// Grid     (ceil(max query_len * group / 128), kv_heads, S), 256 threads, group = heads / kv_heads. The last rows, which have most
//          keys, come first. Tiles past a sequence's rows leave at once.
// Shared   2 stages * (K and V) * 64 keys * 2 D bytes = 64 KiB at D = 128; as much at D = 256, whose tiles are of 32 keys. 16-byte pieces are swizzled by their row, so that neither
//          the copies nor the tensor core's loads meet in a bank. An e4m3 cache is copied as it is into two stages of half the size,
//          from where each thread widens what it copied itself into the one tile that the tensor cores read: as many bytes in all.
// How      The query heads that share a KV head are packed as rows: row r is token r / group, head r % group. Eight warps take 16 rows
//          each and walk over the keys a tile at a time, with a running maximum; the scores never leave registers.
// Numbers  scores, softmax and sums in f32, the scale (above 0) folded into the exponent; weights rounded to bf16 for the product with V.
// Order    keys in tiles of a fixed size from position 0, whatever the chunk, the packing and the block size: a row's bits depend on its own
//          query and keys alone. Hence `--batch-invariant` sends decode rows here too.
// Cost     compute bound for long chunks: 4 D FLOP a visible pair. By arithmetic, reading K and V from
//          shared memory once per 16 rows caps it at about half of the tensor cores' peak. Not timed on a GPU yet.
// Needs    sm_80 or later.
// Trusts   kernels/src/ops/attention.rs.
// Tested   emu/test_attention.cpp, against f64, and for equal bits across chunkings.
// Source   Dao, "FlashAttention-2", 2023.
#include "kv_element.cuh"

namespace paged_prefill_detail {

constexpr u32 WARPS = 8;
constexpr u32 THREADS = WARPS * WARP;
constexpr u32 ROWS = WARPS * 16;
constexpr float LOG2_E = 1.4426950408889634f;
constexpr float NOTHING = -INFINITY;

// Keys of a tile: fewer for the widest heads, whose sums leave no registers for more scores.
template <u32 D>
constexpr u32 KEYS_OF = D > 128 ? 32 : 64;

template <class Element>
struct Arguments {
    const bf16* qkv;
    const typename Element::Stored *k_cache, *v_cache;
    const u32 *query_starts, *query_lens, *kv_lens, *block_tables;
    bf16* out;
    u32 qkv_stride, heads, kv_heads, head_dim, block_size, table_stride, window;
    float scale, softcap;
};

// What a kernel is made for: heads of exactly D columns, or of up to D.
template <u32 D_, bool EXACT, class Element_>
struct Form {
    static constexpr u32 D = D_, KEYS = KEYS_OF<D>, TILE_BYTES = KEYS * 2 * D;
    using Element = Element_;
    using Args = Arguments<Element>;
    static DEVICE u32 head_dim(const Args& args) { return EXACT ? D : args.head_dim; }
    static DEVICE bool has_column(const Args& args, u32 column) { return EXACT || column < args.head_dim; }
};

// The rows of this CTA and the keys they see.
struct Work {
    u32 sequence, kv_head, group, first_row, num_rows, first_position, query_start, first_key, end_key;

    // Position and place of a packed row.
    DEVICE u32 position(u32 row) const { return first_position + row / group; }
    DEVICE u64 place(u32 row, u32 stride, u32 head_dim) const { return static_cast<u64>(query_start + row / group) * stride + (kv_head * group + row % group) * head_dim; }
};

// One tile of keys or values in shared memory, [KEYS][D], its 16-byte pieces swizzled.
template <u32 D>
DEVICE u8* piece(u8* tile, u32 row, u32 index) {
    return tile + row * 2 * D + (index ^ (row & 7)) * 16;
}

// Where 16 bytes of each of the tile's rows lie in the cache, one after the other: calls `visit(row, index, from, valid)` for each that
// this thread copies. `from` counts numbers.
template <class F, class Visit>
DEVICE void each_piece(const typename F::Args& args, const Work& work, u32 key, Visit visit) {
    constexpr u32 LEN = 16 / sizeof(typename F::Element::Stored), PIECES = F::D / LEN, ROWS_AT_ONCE = THREADS / PIECES;
    const u32* table = args.block_tables + static_cast<u64>(work.sequence) * args.table_stride;
    u32 index = threadIdx.x % PIECES;
    bool inside = F::has_column(args, index * LEN);
#pragma unroll
    for (u32 row = threadIdx.x / PIECES; row < F::KEYS; row += ROWS_AT_ONCE) {
        u32 at = key + row;
        bool valid = inside && at < work.end_key;
        u64 from = 0;
        if (valid) from = ((static_cast<u64>(table[at / args.block_size]) * args.kv_heads + work.kv_head) * args.block_size + at % args.block_size) * F::head_dim(args) + index * LEN;
        visit(row, index, from, valid);
    }
}

// The tiles of keys and values on their way from the cache to the tensor cores. Of bf16 there are two of each, and copies go there.
template <class F>
struct Tiles {
    const typename F::Args& args;
    const Work& work;
    u8* shared;

    DEVICE u8* k(u32 stage) const { return shared + stage * 2 * F::TILE_BYTES; }
    DEVICE u8* v(u32 stage) const { return k(stage) + F::TILE_BYTES; }
    DEVICE void load(u32 key, u32 stage) const {
        each_piece<F>(args, work, key, [&](u32 row, u32 index, u64 from, bool valid) {
            copy_async_16(piece<F::D>(k(stage), row, index), args.k_cache + from, valid);
            copy_async_16(piece<F::D>(v(stage), row, index), args.v_cache + from, valid);
        });
    }
    // Nothing is left to do once the copies have landed.
    DEVICE void unpack(u32, u32) const {}
};

// Of e4m3 there is one of each, and before them two stages of what is copied.
template <u32 D, bool EXACT>
struct Tiles<Form<D, EXACT, E4m3Element>> {
    using F = Form<D, EXACT, E4m3Element>;
    static constexpr u32 STAGE_BYTES = F::KEYS * D;
    const typename F::Args& args;
    const Work& work;
    u8* shared;

    DEVICE u8* k(u32) const { return shared + 4 * STAGE_BYTES; }
    DEVICE u8* v(u32) const { return shared + 4 * STAGE_BYTES + F::TILE_BYTES; }
    DEVICE u8* stage_piece(u32 stage, u32 row, u32 index) const { return shared + stage * 2 * STAGE_BYTES + row * D + index * 16; }
    DEVICE void load(u32 key, u32 stage) const {
        each_piece<F>(args, work, key, [&](u32 row, u32 index, u64 from, bool valid) {
            copy_async_16(stage_piece(stage, row, index), args.k_cache + from, valid);
            copy_async_16(stage_piece(stage, row, index) + STAGE_BYTES, args.v_cache + from, valid);
        });
    }
    // Widens this thread's own pieces, which is why no barrier stands before.
    DEVICE void unpack(u32 key, u32 stage) const {
        each_piece<F>(args, work, key, [&](u32 row, u32 index, u64, bool) {
            const u8 *from_k = stage_piece(stage, row, index), *from_v = from_k + STAGE_BYTES;
#pragma unroll
            for (u32 half = 0; half < 2; half++) {
                *reinterpret_cast<Vec16*>(piece<D>(k(0), row, 2 * index + half)) = E4m3Element::widen_piece(from_k + 8 * half);
                *reinterpret_cast<Vec16*>(piece<D>(v(0), row, 2 * index + half)) = E4m3Element::widen_piece(from_v + 8 * half);
            }
        });
    }
};

// The 16 query rows of a warp, as the tensor core wants them: [step of 16 columns][fragment].
template <class F>
DEVICE void load_queries(const typename F::Args& args, const Work& work, u32 (&q)[F::D / 16][4]) {
    constexpr u32 D = F::D;
    u32 lane = threadIdx.x % WARP, g = lane / 4, t = lane % 4;
#pragma unroll
    for (u32 upper = 0; upper < 2; upper++) {
        u32 row = work.first_row + threadIdx.x / WARP * 16 + g + 8 * upper;
        bool valid = row < work.num_rows;
        const bf16* from = args.qkv + (valid ? work.place(row, args.qkv_stride, F::head_dim(args)) : 0);
#pragma unroll
        for (u32 step = 0; step < D / 16; step++) {
#pragma unroll
            for (u32 right = 0; right < 2; right++)
                q[step][upper + 2 * right] = valid && F::has_column(args, 16 * step) ? *reinterpret_cast<const u32*>(from + 16 * step + 8 * right + 2 * t) : 0;
        }
    }
}

// scores = q K^T over one tile of keys: [8 keys][fragment].
template <u32 D>
DEVICE void multiply_queries(const u32 (&q)[D / 16][4], u8* k_tile, float (&scores)[KEYS_OF<D> / 8][4]) {
    constexpr u32 KEYS = KEYS_OF<D>;
    u32 lane = threadIdx.x % WARP;
#pragma unroll
    for (u32 n = 0; n < KEYS / 8; n++) {
#pragma unroll
        for (u32 c = 0; c < 4; c++) scores[n][c] = 0.0f;
#pragma unroll
        for (u32 step = 0; step < D / 16; step += 2) {
            u32 k[4];
            load_tiles(k, piece<D>(k_tile, 8 * n + lane % 8, 2 * step + lane / 8));
            multiply_16x8x16(scores[n], q[step][0], q[step][1], q[step][2], q[step][3], k[0], k[1]);
            multiply_16x8x16(scores[n], q[step + 1][0], q[step + 1][1], q[step + 1][2], q[step + 1][3], k[2], k[3]);
        }
    }
}

// The two rows of a warp's 16 whose scores this thread holds, and what they and the whole warp see.
struct Rows {
    // Of each row the first key it sees, and how many more follow.
    u32 first_key[2], num_more[2];
    // Every row of the warp sees the keys from `common_first` to `common_last`.
    u32 common_first, common_last;

    DEVICE Rows(const Work& work, u32 window) {
        u32 first_row = work.first_row + threadIdx.x / WARP * 16;
        auto first_seen = [&](u32 position) { return window && position >= window ? position + 1 - window : 0; };
#pragma unroll
        for (u32 half = 0; half < 2; half++) {
            u32 position = work.position(first_row + threadIdx.x % WARP / 4 + 8 * half);
            first_key[half] = first_seen(position);
            num_more[half] = position - first_key[half];
        }
        common_first = first_seen(work.position(first_row + 15));
        common_last = work.position(first_row);
    }
    // Whether all rows of the warp see all of `count` keys from `key` on: the same answer in all lanes.
    DEVICE bool see_all(u32 key, u32 count) const { return key >= common_first && key + count - 1 <= common_last; }
};

// Hides the keys that a row may not see.
template <u32 TILES>
DEVICE void mask(const Rows& rows, u32 key, float (&scores)[TILES][4]) {
    u32 t = threadIdx.x % WARP % 4;
#pragma unroll
    for (u32 n = 0; n < TILES; n++) {
#pragma unroll
        for (u32 c = 0; c < 4; c++) {
            // Of a key before the first the difference is huge.
            u32 after_first = key + 8 * n + 2 * t + c % 2 - rows.first_key[c / 2];
            if (after_first > rows.num_more[c / 2]) scores[n][c] = NOTHING;
        }
    }
}

enum class Softcap { None, Capped };

// What products become before the softmax, which is then taken to base 2 of `scores * factor`: with a cap c their tanh, else they stay.
template <Softcap CAP>
struct Scaling {
    float factor, inner;

    template <class Element>
    DEVICE explicit Scaling(const Arguments<Element>& args)
        : factor((CAP == Softcap::Capped ? args.softcap : args.scale) * LOG2_E), inner(CAP == Softcap::Capped ? args.scale / args.softcap : 1.0f) {}

    template <u32 TILES>
    DEVICE void apply(float (&scores)[TILES][4]) const {
        if constexpr (CAP == Softcap::Capped) {
#pragma unroll
            for (u32 n = 0; n < TILES; n++) {
#pragma unroll
                for (u32 c = 0; c < 4; c++) scores[n][c] = tanhf(scores[n][c] * inner);
            }
        }
    }
};

template <u32 D>
struct Running {
    float maximum[2], weight[2], sums[D / 8][4];
};

// Scores become weights, 2^(factor * (score - maximum)); the running sums move to the new maximum.
template <u32 D>
DEVICE void rescale(Running<D>& run, float scale, float (&scores)[KEYS_OF<D> / 8][4]) {
    constexpr u32 KEYS = KEYS_OF<D>;
#pragma unroll
    for (u32 half = 0; half < 2; half++) {
        float best = run.maximum[half];
#pragma unroll
        for (u32 n = 0; n < KEYS / 8; n++) best = fmaxf(best, fmaxf(scores[n][2 * half], scores[n][2 * half + 1]));
        best = fmaxf(best, __shfl_xor_sync(ALL_LANES, best, 1));
        best = fmaxf(best, __shfl_xor_sync(ALL_LANES, best, 2));
        float base = best == NOTHING ? 0.0f : best, shift = -base * scale, sum = 0.0f;
        // Exactly one where the maximum stays: how many tiles without a visible key a row walks over depends on the rows beside it.
        float factor = exp2_fast((run.maximum[half] - base) * scale);
        run.maximum[half] = best;
#pragma unroll
        for (u32 n = 0; n < KEYS / 8; n++) {
#pragma unroll
            for (u32 c = 2 * half; c < 2 * half + 2; c++) {
                scores[n][c] = exp2_fast(fmaf(scores[n][c], scale, shift));
                sum += scores[n][c];
            }
        }
        run.weight[half] = run.weight[half] * factor + sum;
#pragma unroll
        for (u32 i = 0; i < D / 8; i++) {
            run.sums[i][2 * half] *= factor;
            run.sums[i][2 * half + 1] *= factor;
        }
    }
}

template <u32 D>
DEVICE void accumulate(Running<D>& run, const float (&weights)[KEYS_OF<D> / 8][4], u8* v_tile) {
    constexpr u32 KEYS = KEYS_OF<D>;
    u32 lane = threadIdx.x % WARP;
#pragma unroll
    for (u32 step = 0; step < KEYS / 16; step++) {
        const float(&a)[4] = weights[2 * step], (&b)[4] = weights[2 * step + 1];
        u32 p[4] = {pack_bf16(a[0], a[1]), pack_bf16(a[2], a[3]), pack_bf16(b[0], b[1]), pack_bf16(b[2], b[3])};
#pragma unroll
        for (u32 i = 0; i < D / 8; i += 2) {
            u32 v[4];
            load_tiles_transposed(v, piece<D>(v_tile, 16 * step + lane % 16, i + lane / 16));
            multiply_16x8x16(run.sums[i], p[0], p[1], p[2], p[3], v[0], v[1]);
            multiply_16x8x16(run.sums[i + 1], p[0], p[1], p[2], p[3], v[2], v[3]);
        }
    }
}

template <class F>
DEVICE void store(const typename F::Args& args, const Work& work, const Running<F::D>& run) {
    u32 head_dim = F::head_dim(args);
    u32 lane = threadIdx.x % WARP, g = lane / 4, t = lane % 4;
#pragma unroll
    for (u32 half = 0; half < 2; half++) {
        float weight = run.weight[half];
        weight += __shfl_xor_sync(ALL_LANES, weight, 1);
        weight += __shfl_xor_sync(ALL_LANES, weight, 2);
        u32 row = work.first_row + threadIdx.x / WARP * 16 + g + 8 * half;
        if (row >= work.num_rows) continue;
        float factor = 1.0f / weight;
        bf16* to = args.out + work.place(row, args.heads * head_dim, head_dim);
#pragma unroll
        for (u32 i = 0; i < F::D / 8; i++)
            if (F::has_column(args, 8 * i)) *reinterpret_cast<u32*>(to + 8 * i + 2 * t) = pack_bf16(run.sums[i][2 * half] * factor, run.sums[i][2 * half + 1] * factor);
    }
}

// Which rows and keys are this CTA's; false when there are none.
template <class F>
DEVICE bool plan(const typename F::Args& args, Work& work) {
    work.sequence = blockIdx.z;
    work.kv_head = blockIdx.y;
    work.group = args.heads / args.kv_heads;
    u32 query_len = args.query_lens[work.sequence], kv_len = args.kv_lens[work.sequence];
    work.num_rows = query_len * work.group;
    u32 num_tiles = ceil_div(work.num_rows, ROWS);
    if (blockIdx.x >= num_tiles) return false;
    work.first_row = (num_tiles - 1 - blockIdx.x) * ROWS;
    work.query_start = args.query_starts[work.sequence];
    work.first_position = kv_len - query_len;
    u32 last_row = smaller(work.first_row + ROWS, work.num_rows) - 1, lowest = work.position(work.first_row);
    work.end_key = work.position(last_row) + 1;
    work.first_key = args.window && lowest >= args.window ? (lowest + 1 - args.window) / F::KEYS * F::KEYS : 0;
    return true;
}

// The walk over the keys, whose first tile is on its way. A tile that all rows of a warp see as a whole goes without a mask, which
// changes no bit.
template <class F, Softcap CAP>
DEVICE void attend(const typename F::Args& args, const Work& work, const Tiles<F>& tiles, Running<F::D>& run) {
    constexpr u32 D = F::D, KEYS = F::KEYS;
    u32 q[D / 16][4];
    load_queries<F>(args, work, q);
    Rows rows(work, args.window);
    Scaling<CAP> scaling(args);
    for (u32 key = work.first_key, stage = 0; key < work.end_key; key += KEYS, stage ^= 1) {
        if (key + KEYS < work.end_key) tiles.load(key + KEYS, stage ^ 1);
        copy_async_commit();
        copy_async_wait<1>();
        tiles.unpack(key, stage);
        __syncthreads();
        float scores[KEYS / 8][4];
        multiply_queries<D>(q, tiles.k(stage), scores);
        scaling.apply(scores);
        if (!rows.see_all(key, KEYS)) mask(rows, key, scores);
        rescale<D>(run, scaling.factor, scores);
        accumulate<D>(run, scores, tiles.v(stage));
        // The next turn copies into the tile just read.
        __syncthreads();
    }
}

template <class F>
DEVICE void prefill(const typename F::Args& args) {
    SHARED_DYNAMIC(shared);
    let_next_kernel_start();
    wait_for_previous_kernel();
    Work work;
    if (!plan<F>(args, work)) return;
    Tiles<F> tiles{args, work, shared};
    tiles.load(work.first_key, 0);
    copy_async_commit();
    Running<F::D> run{{NOTHING, NOTHING}, {0.0f, 0.0f}, {}};
    if (args.softcap > 0.0f)
        attend<F, Softcap::Capped>(args, work, tiles, run);
    else
        attend<F, Softcap::None>(args, work, tiles, run);
    store<F>(args, work, run);
}

}  // namespace paged_prefill_detail

#define PAGED_PREFILL(name, d, exact, element)                                                                                                         \
    KERNEL(256, 1) name(const bf16* qkv, const element::Stored* k_cache, const element::Stored* v_cache, const u32* query_starts, const u32* query_lens, \
                        const u32* kv_lens, const u32* block_tables, bf16* out, u32 qkv_stride, u32 heads, u32 kv_heads, u32 head_dim, u32 block_size,   \
                        u32 table_stride, u32 window, float scale, float softcap) {                                                                    \
        paged_prefill_detail::prefill<paged_prefill_detail::Form<d, exact, element>>({qkv, k_cache, v_cache, query_starts, query_lens, kv_lens,        \
                                                                                      block_tables, out, qkv_stride, heads, kv_heads, head_dim,        \
                                                                                      block_size, table_stride, window, scale, softcap});              \
    }
PAGED_PREFILL(paged_prefill_bf16_d64, 64, true, Bf16Element)
PAGED_PREFILL(paged_prefill_bf16_d128, 128, true, Bf16Element)
PAGED_PREFILL(paged_prefill_bf16_d256, 256, true, Bf16Element)
PAGED_PREFILL(paged_prefill_bf16_upto64, 64, false, Bf16Element)
PAGED_PREFILL(paged_prefill_bf16_upto128, 128, false, Bf16Element)
PAGED_PREFILL(paged_prefill_bf16_upto256, 256, false, Bf16Element)
PAGED_PREFILL(paged_prefill_fp8_d64, 64, true, E4m3Element)
PAGED_PREFILL(paged_prefill_fp8_d128, 128, true, E4m3Element)
PAGED_PREFILL(paged_prefill_fp8_d256, 256, true, E4m3Element)
PAGED_PREFILL(paged_prefill_fp8_upto64, 64, false, E4m3Element)
PAGED_PREFILL(paged_prefill_fp8_upto128, 128, false, E4m3Element)
PAGED_PREFILL(paged_prefill_fp8_upto256, 256, false, E4m3Element)
