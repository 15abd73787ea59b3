// Decode attention over a paged KV cache: one new query per sequence reads its whole history.
//
//   out[s, h, :] = softmax(scale * q[s, h, :] . K[s, :, g, :]^T) V[s, :, g, :],  g = h / (heads / kv_heads)
//
//   qkv           [T, qkv_stride]                         bf16   the heads of q stand first in a row
//   k_cache       [blocks, kv_heads, block_size, D]       bf16 or e4m3; block_size a multiple of 16; v_cache alike
//   query_rows    [S]                                     u32    row of qkv and out of each sequence; null: s itself
//   block_tables  [S, table_stride]                       u32    entries past the last used one are never read
//   kv_lens       [S]                                     u32    0 for a padding row: its out is zero
//   split_keys    [1]                                     u32    keys a split, a multiple of 64
//   partial       [S, heads, max_splits, D + 8]           f32    sum of the values, then maximum and sum of the weights
//   counters      [S, kv_heads * head_groups]             u32    zero before and after
//   out           [T, heads * D]                          bf16
//
// D        is a kernel's own 64, 128 or 256, or for `_upto` kernels head_dim, a multiple of 16 up to that: the columns from D on are
//          zeros in shared memory, which nobody reads from the cache.
// Grid     (kv_heads * head_groups, S, max_splits), 128 threads, head_groups = ceil(heads / kv_heads / 16). Splits past a sequence's
//          end leave at once, so that one graph serves every length.
// Shared   4 warps * 3 stages * 64 D bytes, half of it for e4m3, with D rounded up to 64, 128 or 256.
// How      Up to 16 query heads of one KV head are the 16 rows of a tensor-core tile, so K and V are read once for all of them. The
//          four warps take tiles of 16 keys in turn, each with its own running maximum, and are merged at the end. As in `product.cuh`
//          each lane copies what it will itself use, so the ring needs no barrier: of K 16 bytes of a key's row, with the order of D
//          permuted alike in q; of V 8 columns of the keys its fragment needs, which makes lane 4g + t own columns 8g.. of each 64.
// Numbers  scores, softmax and sums in f32; weights rounded to bf16 for the product with V.
// Order    tiles, warps and splits are merged in index order; who merges last does not matter. The bits depend on a sequence's
//          length and on split_keys alone.
// Cost     memory bound: 4 kv_len D bytes per KV head. In flight per SM at D = 128: 2 CTAs * 4 warps * 3 stages * 8 KiB = 192 KiB.
//          Not timed on a GPU yet.
// Needs    sm_80 or later.
// Trusts   kernels/src/ops/attention.rs; ceil(kv_len / split_keys) <= gridDim.z.
// Tested   emu/test_attention.cpp, against f64.
// Source   Dao et al., "Flash-Decoding", 2023; Kwon et al., "PagedAttention", 2023.
#include "kv_element.cuh"

namespace paged_decode_detail {

constexpr u32 WARPS = 4;
constexpr u32 TILE = 16;
constexpr u32 STAGES = 3;
constexpr u32 HEAD_ROWS = 16;
constexpr u32 PARTIAL_TAIL = 8;
constexpr float LOG2_E = 1.4426950408889634f;
constexpr float NOTHING = -INFINITY;

template <class Element>
struct Arguments {
    const bf16* qkv;
    const typename Element::Stored *k_cache, *v_cache;
    const u32 *query_rows, *block_tables, *kv_lens, *split_keys;
    float* partial;
    u32* counters;
    bf16* out;
    u32 qkv_stride, heads, kv_heads, head_dim, block_size, table_stride, window;
    float scale, softcap;
};

// What a kernel is made for: heads of exactly D columns, or of up to D.
template <u32 D_, bool EXACT, class Element_>
struct Form {
    static constexpr u32 D = D_;
    using Element = Element_;
    using Args = Arguments<Element>;
    static DEVICE u32 head_dim(const Args& args) { return EXACT ? D : args.head_dim; }
    static DEVICE bool has_column(const Args& args, u32 column) { return EXACT || column < args.head_dim; }
};

// Which heads and keys this CTA has.
struct Work {
    u32 sequence, kv_head, first_head, num_heads, kv_len, first_key, end_key, split, num_splits;
};

// Pieces of eight numbers a lane holds of 16 keys: of K two rows, of V four.
template <class F>
struct Pieces {
    static constexpr u32 K = 2 * (F::D / 32), V = 4 * (F::D / 64), BYTES = F::Element::PIECE_BYTES, STAGE_BYTES = (K + V) * WARP * BYTES;
};

// A warp's running softmax: m and l for rows g and g + 8, sums for its columns.
template <u32 D>
struct Running {
    float maximum[2], weight[2], sums[D / 8][4];
};

template <class F>
struct Loader {
    static constexpr u32 D = F::D;
    const typename F::Args& args;
    const Work& work;
    u8* ring;
    const u32* table;
    u32 next_block;

    DEVICE Loader(const typename F::Args& a, const Work& w, u8* shared)
        : args(a), work(w), ring(shared + threadIdx.x / WARP * STAGES * Pieces<F>::STAGE_BYTES + threadIdx.x % WARP * Pieces<F>::BYTES),
          table(a.block_tables + static_cast<u64>(w.sequence) * a.table_stride), next_block(0) {}

    DEVICE u8* piece(u32 stage, u32 index) const { return ring + stage * Pieces<F>::STAGE_BYTES + index * WARP * Pieces<F>::BYTES; }
    DEVICE Vec16 widened(u32 stage, u32 index) const { return F::Element::widen_piece(piece(stage, index)); }

    // Asks for the block that holds `key`, one tile before it is needed.
    DEVICE void look_up(u32 key) {
        if (key < work.end_key) next_block = table[key / args.block_size];
    }

    // Starts the copies of the 16 keys from `key` on; keys past the end, and columns a head does not have, become zero.
    DEVICE void load(u32 key, u32 stage) const {
        u32 lane = threadIdx.x % WARP, g = lane / 4, t = lane % 4, head_dim = F::head_dim(args);
        u64 base = ((static_cast<u64>(next_block) * args.kv_heads + work.kv_head) * args.block_size + key % args.block_size) * head_dim;
#pragma unroll
        for (u32 i = 0; i < 2; i++) {
            bool valid = key + 8 * i + g < work.end_key;
#pragma unroll
            for (u32 j = 0; j < D / 32; j++) {
                bool inside = F::has_column(args, 32 * j + 8 * t);
                F::Element::copy_piece(piece(stage, i * (D / 32) + j), args.k_cache + base + (8 * i + g) * head_dim + (inside ? 32 * j + 8 * t : 0), valid && inside);
            }
        }
#pragma unroll
        for (u32 i = 0; i < 4; i++) {
            u32 row = 2 * t + i % 2 + i / 2 * 8;
            bool valid = key + row < work.end_key;
#pragma unroll
            for (u32 j = 0; j < D / 64; j++) {
                bool inside = F::has_column(args, 64 * j + 8 * g);
                F::Element::copy_piece(piece(stage, Pieces<F>::K + i * (D / 64) + j), args.v_cache + base + row * head_dim + (inside ? 64 * j + 8 * g : 0), valid && inside);
            }
        }
    }
};

// Scores of 16 keys, scaled to base 2 and masked: [tile of 8 keys][fragment].
template <class F>
DEVICE void score(const Loader<F>& loader, u32 stage, u32 key, const Vec16 (&q)[F::D / 32][2], float (&scores)[2][4]) {
    constexpr u32 D = F::D;
    const typename F::Args& args = loader.args;
    u32 t = threadIdx.x % 4;
#pragma unroll
    for (u32 i = 0; i < 2; i++) {
#pragma unroll
        for (u32 c = 0; c < 4; c++) scores[i][c] = 0.0f;
#pragma unroll
        for (u32 j = 0; j < D / 32; j++) {
            Vec16 k = loader.widened(stage, i * (D / 32) + j);
            multiply_16x8x16(scores[i], q[j][0].x, q[j][1].x, q[j][0].y, q[j][1].y, k.x, k.y);
            multiply_16x8x16(scores[i], q[j][0].z, q[j][1].z, q[j][0].w, q[j][1].w, k.z, k.w);
        }
#pragma unroll
        for (u32 c = 0; c < 4; c++) {
            u32 at = key + 8 * i + 2 * t + c % 2;
            float s = scores[i][c] * args.scale;
            if (args.softcap > 0.0f) s = args.softcap * tanhf(s / args.softcap);
            bool visible = at < loader.work.end_key && at >= loader.work.first_key;
            scores[i][c] = visible ? s * LOG2_E : NOTHING;
        }
    }
}

// Turns the scores of 16 keys into weights and brings the running sums to the new maximum.
template <u32 D>
DEVICE void rescale(Running<D>& run, float (&scores)[2][4]) {
    float factor[2];
#pragma unroll
    for (u32 half = 0; half < 2; half++) {
        float best = fmaxf(fmaxf(scores[0][2 * half], scores[0][2 * half + 1]), fmaxf(scores[1][2 * half], scores[1][2 * half + 1]));
        best = fmaxf(best, __shfl_xor_sync(ALL_LANES, best, 1));
        best = fmaxf(best, __shfl_xor_sync(ALL_LANES, best, 2));
        float maximum = fmaxf(run.maximum[half], best);
        // Nothing visible yet: any finite maximum gives weights of zero instead of NaN.
        float shift = maximum == NOTHING ? 0.0f : maximum;
        factor[half] = exp2_fast(run.maximum[half] - shift);
        run.maximum[half] = maximum;
        float sum = 0.0f;
#pragma unroll
        for (u32 i = 0; i < 2; i++) {
#pragma unroll
            for (u32 c = 2 * half; c < 2 * half + 2; c++) {
                scores[i][c] = exp2_fast(scores[i][c] - shift);
                sum += scores[i][c];
            }
        }
        run.weight[half] = run.weight[half] * factor[half] + sum;
    }
    if (__all_sync(ALL_LANES, factor[0] == 1.0f && factor[1] == 1.0f)) return;
#pragma unroll
    for (u32 i = 0; i < D / 8; i++) {
#pragma unroll
        for (u32 c = 0; c < 4; c++) run.sums[i][c] *= factor[c / 2];
    }
}

DEVICE u32 word_of(const Vec16& v, u32 i) { return i == 0 ? v.x : i == 1 ? v.y : i == 2 ? v.z : v.w; }

// Adds the weighted values of 16 keys. Tile 8 j + e of the sums holds columns 64 j + 8 n + e, n = 0..8.
template <class F>
DEVICE void accumulate(const Loader<F>& loader, u32 stage, const float (&weights)[2][4], Running<F::D>& run) {
    constexpr u32 D = F::D;
    u32 p[4] = {pack_bf16(weights[0][0], weights[0][1]), pack_bf16(weights[0][2], weights[0][3]), pack_bf16(weights[1][0], weights[1][1]),
                pack_bf16(weights[1][2], weights[1][3])};
#pragma unroll
    for (u32 j = 0; j < D / 64; j++) {
        Vec16 v[4];
#pragma unroll
        for (u32 i = 0; i < 4; i++) v[i] = loader.widened(stage, Pieces<F>::K + i * (D / 64) + j);
#pragma unroll
        for (u32 e = 0; e < 8; e++) {
            u32 selector = e % 2 ? 0x7632 : 0x5410;
            u32 b0 = pick_bytes(word_of(v[0], e / 2), word_of(v[1], e / 2), selector), b1 = pick_bytes(word_of(v[2], e / 2), word_of(v[3], e / 2), selector);
            multiply_16x8x16(run.sums[8 * j + e], p[0], p[1], p[2], p[3], b0, b1);
        }
    }
}

// Everything the four warps leave in shared memory for the merge: [warp][row][D] sums and [warp][row] maxima and weights.
template <u32 D>
struct Meeting {
    static constexpr u32 PITCH = D + 4;
    float *sums, *maxima, *weights;
    DEVICE Meeting(u8* shared) : sums(reinterpret_cast<float*>(shared)), maxima(sums + WARPS * HEAD_ROWS * PITCH), weights(maxima + WARPS * HEAD_ROWS) {}
};

template <u32 D>
DEVICE void leave(const Meeting<D>& meeting, Running<D>& run) {
    u32 lane = threadIdx.x % WARP, warp = threadIdx.x / WARP, g = lane / 4, t = lane % 4;
#pragma unroll
    for (u32 half = 0; half < 2; half++) {
        u32 row = warp * HEAD_ROWS + g + 8 * half;
        float weight = run.weight[half];
        weight += __shfl_xor_sync(ALL_LANES, weight, 1);
        weight += __shfl_xor_sync(ALL_LANES, weight, 2);
        if (t == 0) {
            meeting.maxima[row] = run.maximum[half];
            meeting.weights[row] = weight;
        }
        float* to = meeting.sums + row * Meeting<D>::PITCH;
#pragma unroll
        for (u32 j = 0; j < D / 64; j++) {
#pragma unroll
            for (u32 n = 0; n < 2; n++) {
#pragma unroll
                for (u32 e = 0; e < 8; e += 4) {
                    u32 c = 2 * half + n;
                    *reinterpret_cast<Float4*>(to + 64 * j + 8 * (2 * t + n) + e) = Float4{run.sums[8 * j + e][c], run.sums[8 * j + e + 1][c], run.sums[8 * j + e + 2][c], run.sums[8 * j + e + 3][c]};
                }
            }
        }
    }
}

DEVICE void add_scaled(Float4& sum, const Float4& part, float factor) {
    sum.x += part.x * factor;
    sum.y += part.y * factor;
    sum.z += part.z * factor;
    sum.w += part.w * factor;
}

DEVICE void store_four(bf16* to, const Float4& v, float factor) {
    u32* words = reinterpret_cast<u32*>(to);
    words[0] = pack_bf16(v.x * factor, v.y * factor);
    words[1] = pack_bf16(v.z * factor, v.w * factor);
}

// Merges the warps; writes the result, or this split's part of it.
template <class F>
DEVICE void merge_warps(const typename F::Args& args, const Work& work, const Meeting<F::D>& meeting, bf16* out) {
    u32 head_dim = F::head_dim(args), quarter = head_dim / 4;
    for (u32 i = threadIdx.x; i < work.num_heads * quarter; i += WARPS * WARP) {
        u32 row = i / quarter, column = i % quarter * 4;
        float maximum = NOTHING, weight = 0.0f;
#pragma unroll
        for (u32 w = 0; w < WARPS; w++) maximum = fmaxf(maximum, meeting.maxima[w * HEAD_ROWS + row]);
        Float4 sum{0.0f, 0.0f, 0.0f, 0.0f};
        float shift = maximum == NOTHING ? 0.0f : maximum;
#pragma unroll
        for (u32 w = 0; w < WARPS; w++) {
            float factor = exp2_fast(meeting.maxima[w * HEAD_ROWS + row] - shift);
            weight += meeting.weights[w * HEAD_ROWS + row] * factor;
            add_scaled(sum, *reinterpret_cast<const Float4*>(meeting.sums + (w * HEAD_ROWS + row) * Meeting<F::D>::PITCH + column), factor);
        }
        u32 head = work.first_head + row;
        if (work.num_splits == 1) {
            store_four(out + static_cast<u64>(head) * head_dim + column, sum, weight > 0.0f ? 1.0f / weight : 0.0f);
            continue;
        }
        float* part = args.partial + ((static_cast<u64>(work.sequence) * args.heads + head) * gridDim.z + work.split) * (head_dim + PARTIAL_TAIL);
        *reinterpret_cast<Float4*>(part + column) = sum;
        if (column == 0) *reinterpret_cast<Float4*>(part + head_dim) = Float4{maximum, weight, 0.0f, 0.0f};
    }
}

// Merges the splits, in index order.
template <class F>
DEVICE void merge_splits(const typename F::Args& args, const Work& work, bf16* out) {
    u32 head_dim = F::head_dim(args), quarter = head_dim / 4;
    for (u32 i = threadIdx.x; i < work.num_heads * quarter; i += WARPS * WARP) {
        u32 head = work.first_head + i / quarter, column = i % quarter * 4;
        const float* parts = args.partial + (static_cast<u64>(work.sequence) * args.heads + head) * gridDim.z * (head_dim + PARTIAL_TAIL);
        float maximum = NOTHING, weight = 0.0f;
        Float4 sum{0.0f, 0.0f, 0.0f, 0.0f};
        for (u32 split = 0; split < work.num_splits; split++) {
            const float* part = parts + split * (head_dim + PARTIAL_TAIL);
            Float4 tail = load_from_other_blocks(part + head_dim), values = load_from_other_blocks(part + column);
            float next = fmaxf(maximum, tail.x), shift = next == NOTHING ? 0.0f : next;
            float old_factor = exp2_fast(maximum - shift), new_factor = exp2_fast(tail.x - shift);
            sum = Float4{sum.x * old_factor, sum.y * old_factor, sum.z * old_factor, sum.w * old_factor};
            add_scaled(sum, values, new_factor);
            weight = weight * old_factor + tail.y * new_factor;
            maximum = next;
        }
        store_four(out + static_cast<u64>(head) * head_dim + column, sum, weight > 0.0f ? 1.0f / weight : 0.0f);
    }
}

// Counts this split as done; true in all threads of the CTA that finds itself the last.
DEVICE bool is_last_split(u32* counter, u32 num_splits) {
    SHARED_ARRAY(u32, last, 1);
    publish_writes();
    __syncthreads();
    if (threadIdx.x == 0) {
        last[0] = atomicAdd(counter, 1u) + 1 == num_splits;
        if (last[0]) *counter = 0;
    }
    __syncthreads();
    publish_writes();
    return last[0] != 0;
}

template <class Element>
DEVICE Work plan(const Arguments<Element>& args) {
    u32 group = args.heads / args.kv_heads, head_groups = ceil_div(group, HEAD_ROWS);
    Work work;
    work.sequence = blockIdx.y;
    work.kv_head = blockIdx.x / head_groups;
    u32 first = blockIdx.x % head_groups * HEAD_ROWS;
    work.first_head = work.kv_head * group + first;
    work.num_heads = smaller(HEAD_ROWS, group - first);
    work.kv_len = args.kv_lens[work.sequence];
    u32 split_keys = *args.split_keys;
    work.split = blockIdx.z;
    work.num_splits = ceil_div(work.kv_len, split_keys);
    u32 visible_from = args.window && work.kv_len > args.window ? work.kv_len - args.window : 0;
    u32 begin = work.split * split_keys;
    work.first_key = begin > visible_from ? begin : visible_from;
    work.end_key = smaller(begin + split_keys, work.kv_len);
    return work;
}

template <class F>
DEVICE void attend(const typename F::Args& args, const Work& work, u8* shared, bf16* out) {
    constexpr u32 D = F::D;
    u32 head_dim = F::head_dim(args);
    u32 lane = threadIdx.x % WARP, warp = threadIdx.x / WARP, g = lane / 4, t = lane % 4;
    u32 query = args.query_rows ? args.query_rows[work.sequence] : work.sequence;
    Loader<F> loader(args, work, shared);

    // Tiles are counted from position 0, so that a window moves no tile's border.
    u32 first = work.first_key / (TILE * WARPS) * (TILE * WARPS) + warp * TILE;
    constexpr u32 STRIDE = TILE * WARPS;
    loader.look_up(first);
#pragma unroll
    for (u32 stage = 0; stage < STAGES; stage++) {
        u32 key = first + stage * STRIDE;
        if (key < work.end_key) loader.load(key, stage);
        loader.look_up(key + STRIDE);
        copy_async_commit();
    }
    Vec16 q[D / 32][2];
    const bf16* rows = args.qkv + static_cast<u64>(query) * args.qkv_stride + static_cast<u64>(work.first_head) * head_dim;
#pragma unroll
    for (u32 j = 0; j < D / 32; j++) {
#pragma unroll
        for (u32 half = 0; half < 2; half++)
            q[j][half] = g + 8 * half < work.num_heads && F::has_column(args, 32 * j + 8 * t) ? *reinterpret_cast<const Vec16*>(rows + (g + 8 * half) * head_dim + 32 * j + 8 * t)
                                                                                                : Vec16{0, 0, 0, 0};
    }
    Running<D> run{{NOTHING, NOTHING}, {0.0f, 0.0f}, {}};
    u32 stage = 0;
    for (u32 key = first; key < work.end_key; key += STRIDE) {
        copy_async_wait<STAGES - 1>();
        float scores[2][4];
        score<F>(loader, stage, key, q, scores);
        rescale<D>(run, scores);
        accumulate<F>(loader, stage, scores, run);
        u32 ahead = key + STAGES * STRIDE;
        if (ahead < work.end_key) loader.load(ahead, stage);
        loader.look_up(ahead + STRIDE);
        copy_async_commit();
        stage = stage + 1 == STAGES ? 0 : stage + 1;
    }
    copy_async_wait<0>();
    __syncthreads();
    Meeting<D> meeting(shared);
    leave<D>(meeting, run);
    __syncthreads();
    merge_warps<F>(args, work, meeting, out + static_cast<u64>(query) * args.heads * head_dim);
}

template <class F>
DEVICE void decode(const typename F::Args& args) {
    SHARED_DYNAMIC(shared);
    let_next_kernel_start();
    wait_for_previous_kernel();
    Work work = plan(args);
    u32 query = args.query_rows ? args.query_rows[work.sequence] : work.sequence;
    u32 head_dim = F::head_dim(args);
    bf16* out = args.out + static_cast<u64>(query) * args.heads * head_dim;
    if (work.kv_len == 0 && work.split == 0) {
        for (u32 i = threadIdx.x; i < work.num_heads * head_dim; i += WARPS * WARP) out[work.first_head * head_dim + i] = bf16{0};
    }
    if (work.split >= work.num_splits) return;
    attend<F>(args, work, shared, args.out);
    if (work.num_splits == 1) return;
    if (is_last_split(args.counters + static_cast<u64>(work.sequence) * gridDim.x + blockIdx.x, work.num_splits)) merge_splits<F>(args, work, out);
}

}  // namespace paged_decode_detail

#define PAGED_DECODE(name, d, exact, element, blocks)                                                                                              \
    KERNEL(128, blocks) name(const bf16* qkv, const element::Stored* k_cache, const element::Stored* v_cache, const u32* query_rows,              \
                             const u32* block_tables, const u32* kv_lens, const u32* split_keys, float* partial, u32* counters, bf16* out,        \
                             u32 qkv_stride, u32 heads, u32 kv_heads, u32 head_dim, u32 block_size, u32 table_stride, u32 window, float scale,    \
                             float softcap) {                                                                                                     \
        paged_decode_detail::decode<paged_decode_detail::Form<d, exact, element>>(                                                                \
            {qkv, k_cache, v_cache, query_rows, block_tables, kv_lens, split_keys, partial, counters, out, qkv_stride, heads, kv_heads, head_dim, \
             block_size, table_stride, window, scale, softcap});                                                                                  \
    }
PAGED_DECODE(paged_decode_bf16_d64, 64, true, Bf16Element, 2)
PAGED_DECODE(paged_decode_bf16_d128, 128, true, Bf16Element, 2)
PAGED_DECODE(paged_decode_bf16_d256, 256, true, Bf16Element, 1)
PAGED_DECODE(paged_decode_bf16_upto64, 64, false, Bf16Element, 2)
PAGED_DECODE(paged_decode_bf16_upto128, 128, false, Bf16Element, 2)
PAGED_DECODE(paged_decode_bf16_upto256, 256, false, Bf16Element, 1)
PAGED_DECODE(paged_decode_fp8_d64, 64, true, E4m3Element, 2)
PAGED_DECODE(paged_decode_fp8_d128, 128, true, E4m3Element, 2)
PAGED_DECODE(paged_decode_fp8_d256, 256, true, E4m3Element, 1)
PAGED_DECODE(paged_decode_fp8_upto64, 64, false, E4m3Element, 2)
PAGED_DECODE(paged_decode_fp8_upto128, 128, false, E4m3Element, 2)
PAGED_DECODE(paged_decode_fp8_upto256, 256, false, E4m3Element, 1)
