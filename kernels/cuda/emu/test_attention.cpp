// Attention against f64: ragged lengths, shuffled block tables, splits, windows, soft caps, wide groups, head sizes, caches of 8 bits.
#include <cmath>

#include "../paged_decode.cu"
#include "../paged_prefill.cu"
#include "check.hpp"

namespace {

struct Shape {
    u32 heads, kv_heads, head_dim, block_size, split_keys, window;
    float softcap;
    std::vector<u32> lengths;
    bool fp8 = false;
};

// What e4m3 bits stand for, by the format's definition.
double e4m3_value(u8 bits) {
    int exponent = bits >> 3 & 15, mantissa = bits & 7;
    if (exponent == 15 && mantissa == 7) return NAN;
    double magnitude = exponent == 0 ? std::ldexp(mantissa, -9) : std::ldexp(8 + mantissa, exponent - 10);
    return bits & 0x80 ? -magnitude : magnitude;
}

// Keys or values of a cache, in either type. What no one sets keeps its NaN bits.
struct Plane {
    bool fp8;
    Buffer<u8> bytes;

    Plane(size_t count, bool fp8) : fp8(fp8), bytes(count * (fp8 ? 1 : 2)) {}
    // Any bits that are a number of about unit size.
    void set(size_t i, Random& random) const {
        if (fp8)
            bytes[i] = (u8)(random.below(2) << 7 | random.below(60));
        else
            as<bf16>()[i].bits = emu::round_to_bf16(random.uniform(-1, 1));
    }
    double at(size_t i) const { return fp8 ? e4m3_value(bytes[i]) : value_of(as<bf16>()[i]); }
    template <class Stored>
    Stored* as() const {
        return reinterpret_cast<Stored*>(bytes.get());
    }
};

// A paged cache of random keys and values with a shuffled table for each sequence.
struct Cache {
    u32 table_stride, kv_heads, block_size, head_dim;
    Buffer<u32> tables;
    Plane k, v;

    static u32 blocks_of(const Shape& s) {
        u32 longest = 1;
        for (u32 length : s.lengths) longest = length > longest ? length : longest;
        return ceil_div(longest, s.block_size);
    }
    static size_t elements(const Shape& s) { return (size_t)blocks_of(s) * s.lengths.size() * s.kv_heads * s.block_size * s.head_dim; }
    Cache(const Shape& s, Random& random)
        : table_stride(blocks_of(s)), kv_heads(s.kv_heads), block_size(s.block_size), head_dim(s.head_dim), tables(table_stride * s.lengths.size()), k(elements(s), s.fp8), v(elements(s), s.fp8) {
        auto order = random.shuffled((u32)tables.size());
        // What no token owns keeps its NaN bits, so that a read past a length shows.
        for (u32 i = 0; i < s.lengths.size(); i++)
            for (u32 j = 0; j < table_stride; j++) tables[i * table_stride + j] = j * block_size < s.lengths[i] ? order[i * table_stride + j] : 0xffffffffu;
        for (u32 i = 0; i < s.lengths.size(); i++)
            for (u32 p = 0; p < s.lengths[i]; p++)
                for (u32 g = 0; g < kv_heads; g++)
                    for (u32 d = 0; d < head_dim; d++) {
                        k.set(at(i, p, g) + d, random);
                        v.set(at(i, p, g) + d, random);
                    }
    }
    size_t at(u32 sequence, u32 position, u32 kv_head) const {
        size_t block = tables[sequence * table_stride + position / block_size];
        return ((block * kv_heads + kv_head) * block_size + position % block_size) * head_dim;
    }
};

// Calls the kernel of a head size: `exact` for 64, 128, 256, else the one that holds it.
#define CALL_FOR_HEAD(kernel, head_dim, ...)                                                                                             \
    ((head_dim) == 64    ? kernel##_d64(__VA_ARGS__)                                                                                     \
     : (head_dim) == 128 ? kernel##_d128(__VA_ARGS__)                                                                                    \
     : (head_dim) == 256 ? kernel##_d256(__VA_ARGS__)                                                                                    \
     : (head_dim) < 64   ? kernel##_upto64(__VA_ARGS__)                                                                                  \
     : (head_dim) < 128  ? kernel##_upto128(__VA_ARGS__)                                                                                 \
                         : kernel##_upto256(__VA_ARGS__))

u32 rounded_head(u32 head_dim) { return head_dim <= 64 ? 64 : head_dim <= 128 ? 128 : 256; }

// softmax(q K) V of one head over positions from..to, in f64.
std::vector<double> attend(const Shape& s, const Cache& cache, u32 sequence, u32 head, u32 from, u32 to, const bf16* q, float scale) {
    u32 kv_head = head / (s.heads / s.kv_heads);
    std::vector<double> scores, out(s.head_dim);
    double best = -INFINITY, sum = 0;
    for (u32 p = from; p < to; p++) {
        double dot = 0;
        for (u32 d = 0; d < s.head_dim; d++) dot += value_of(q[d]) * cache.k.at(cache.at(sequence, p, kv_head) + d);
        dot *= scale;
        if (s.softcap > 0) dot = s.softcap * std::tanh(dot / s.softcap);
        scores.push_back(dot);
        best = std::fmax(best, dot);
    }
    for (double& score : scores) sum += score = std::exp(score - best);
    for (u32 p = from; p < to; p++)
        for (u32 d = 0; d < s.head_dim; d++) out[d] += scores[p - from] / sum * cache.v.at(cache.at(sequence, p, kv_head) + d);
    return out;
}

void check_decode(const Shape& s, bool mapped, uint64_t order) {
    Check check(s.fp8 ? "paged_decode, fp8" : "paged_decode", 3e-3, 6e-3);
    u32 longest = 0;
    for (u32 length : s.lengths) longest = length > longest ? length : longest;
    check.describe("heads %u/%u dim %u block %u split %u window %u cap %g longest %u order %u", s.heads, s.kv_heads, s.head_dim, s.block_size, s.split_keys, s.window, s.softcap, longest, (u32)order);
    Random random(order + s.heads);
    Cache cache(s, random);
    u32 sequences = (u32)s.lengths.size(), stride = (s.heads + 2 * s.kv_heads) * s.head_dim, splits = ceil_div(longest, s.split_keys) + 1;
    u32 groups = s.kv_heads * ceil_div(s.heads / s.kv_heads, 16);
    Buffer<bf16> qkv((size_t)sequences * stride), out((size_t)sequences * s.heads * s.head_dim);
    Buffer<u32> rows(sequences), lengths(sequences), split_keys(1), counters(sequences * groups);
    Buffer<float> partial((size_t)sequences * s.heads * splits * (s.head_dim + 8));
    random.fill(qkv, 2.0f);
    auto permuted = random.shuffled(sequences);
    split_keys[0] = s.split_keys;
    counters.fill(0);
    for (u32 i = 0; i < sequences; i++) {
        rows[i] = mapped ? permuted[i] : i;
        lengths[i] = s.lengths[i];
    }
    float scale = 1.0f / std::sqrt((float)s.head_dim);
    u32 shared_bytes = (s.fp8 ? 384 : 768) * rounded_head(s.head_dim);
    emu::launch({{groups, sequences, splits}, {128, 1, 1}, shared_bytes, order}, [&] {
        const u32* query_rows = mapped ? rows.get() : nullptr;
#define REST query_rows, cache.tables.get(), lengths.get(), split_keys.get(), partial.get(), counters.get(), out.get(), stride, s.heads, s.kv_heads, s.head_dim, s.block_size, cache.table_stride, s.window, scale, s.softcap
        if (s.fp8)
            CALL_FOR_HEAD(paged_decode_fp8, s.head_dim, qkv.get(), cache.k.as<e4m3>(), cache.v.as<e4m3>(), REST);
        else
            CALL_FOR_HEAD(paged_decode_bf16, s.head_dim, qkv.get(), cache.k.as<bf16>(), cache.v.as<bf16>(), REST);
#undef REST
    });
    for (u32 i = 0; i < sequences; i++)
        for (u32 h = 0; h < s.heads; h++) {
            u32 length = s.lengths[i], from = s.window && length > s.window ? length - s.window : 0;
            auto wanted = attend(s, cache, i, h, from, length, &qkv[(size_t)rows[i] * stride + h * s.head_dim], scale);
            for (u32 d = 0; d < s.head_dim; d++) check.compare(value_of(out[((size_t)rows[i] * s.heads + h) * s.head_dim + d]), length ? wanted[d] : 0.0);
        }
    for (u32 i = 0; i < counters.size(); i++) check.require(counters[i] == 0, "a counter was left standing");
}

// Prefill of chunks: sequence i has `lengths[i]` keys, of which the last `queries[i]` are the chunk's.
void run_prefill(const Shape& s, const Cache& cache, const std::vector<u32>& queries, const Buffer<bf16>& qkv, const Buffer<bf16>& out, uint64_t order) {
    u32 sequences = (u32)s.lengths.size(), stride = (s.heads + 2 * s.kv_heads) * s.head_dim, longest = 0, start = 0;
    Buffer<u32> starts(sequences), query_lens(sequences), lengths(sequences);
    for (u32 i = 0; i < sequences; i++) {
        starts[i] = start;
        start += query_lens[i] = queries[i];
        lengths[i] = s.lengths[i];
        longest = queries[i] > longest ? queries[i] : longest;
    }
    u32 shared_bytes = smaller(512 * rounded_head(s.head_dim), 65536);
    emu::launch({{ceil_div(longest * (s.heads / s.kv_heads), 128), s.kv_heads, sequences}, {256, 1, 1}, shared_bytes, order}, [&] {
#define REST starts.get(), query_lens.get(), lengths.get(), cache.tables.get(), out.get(), stride, s.heads, s.kv_heads, s.head_dim, s.block_size, cache.table_stride, s.window, 1.0f / std::sqrt((float)s.head_dim), s.softcap
        if (s.fp8)
            CALL_FOR_HEAD(paged_prefill_fp8, s.head_dim, qkv.get(), cache.k.as<e4m3>(), cache.v.as<e4m3>(), REST);
        else
            CALL_FOR_HEAD(paged_prefill_bf16, s.head_dim, qkv.get(), cache.k.as<bf16>(), cache.v.as<bf16>(), REST);
#undef REST
    });
}

void check_prefill(const Shape& s, const std::vector<u32>& queries, uint64_t order) {
    Check check(s.fp8 ? "paged_prefill, fp8" : "paged_prefill", 5e-3, 8e-3);
    u32 tokens = 0, stride = (s.heads + 2 * s.kv_heads) * s.head_dim, row = 0;
    for (u32 count : queries) tokens += count;
    check.describe("heads %u/%u dim %u block %u window %u cap %g tokens %u order %u", s.heads, s.kv_heads, s.head_dim, s.block_size, s.window, s.softcap, tokens, (u32)order);
    Random random(order + tokens);
    Cache cache(s, random);
    Buffer<bf16> qkv((size_t)tokens * stride), out((size_t)tokens * s.heads * s.head_dim);
    random.fill(qkv, 2.0f);
    run_prefill(s, cache, queries, qkv, out, order);
    for (u32 i = 0; i < queries.size(); i++)
        for (u32 t = 0; t < queries[i]; t++, row++)
            for (u32 h = 0; h < s.heads; h++) {
                u32 end = s.lengths[i] - queries[i] + t + 1, from = s.window && end > s.window ? end - s.window : 0;
                auto wanted = attend(s, cache, i, h, from, end, &qkv[(size_t)row * stride + h * s.head_dim], 1.0f / std::sqrt((float)s.head_dim));
                for (u32 d = 0; d < s.head_dim; d++) check.compare(value_of(out[((size_t)row * s.heads + h) * s.head_dim + d]), wanted[d]);
            }
}

// One prompt in one chunk, the same prompt cut in two, and some tokens alone: the rows must have the same bits. Token 127 is the last of
// a tile of keys, which it sees as a whole: alone it needs no mask, in the chunk the rows beside it do.
void check_prefill_invariance(u32 window, float softcap) {
    Check check("paged_prefill, invariance", 0, 0);
    Shape whole{4, 2, 64, 16, 0, window, softcap, {150}};
    check.describe("150 tokens at once; as 83 and 67; 127 and 149 alone; window %u cap %g", window, softcap);
    u32 stride = (4 + 2 * 2) * 64, out_stride = 4 * 64;
    Random random(3);
    Cache cache(whole, random);
    Buffer<bf16> qkv(150 * stride), all(150 * out_stride);
    random.fill(qkv, 2.0f);
    run_prefill(whole, cache, {150}, qkv, all, 1);
    auto compare = [&](u32 first, u32 count, uint64_t order, const char* what) {
        Shape part = whole;
        part.lengths = {first + count};
        Buffer<bf16> part_qkv(count * stride), out(count * out_stride);
        memcpy(part_qkv.get(), &qkv[first * stride], count * stride * 2);
        run_prefill(part, cache, {count}, part_qkv, out, order);
        check.require(memcmp(out.get(), &all[first * out_stride], count * out_stride * 2) == 0, what);
    };
    compare(0, 83, 2, "the first chunk differs");
    compare(83, 67, 3, "the second chunk differs");
    compare(127, 1, 1, "a token alone differs");
    compare(149, 1, 1, "the last token alone differs");
}

}  // namespace

void test_attention() {
    for (uint64_t order : ORDERS) check_prefill({4, 2, 64, 16, 0, 0, 0, {40, 130}}, {40, 7}, order);
    check_prefill({4, 1, 128, 16, 0, 0, 0, {70}}, {70}, 1);
    check_prefill({3, 1, 64, 32, 0, 0, 0, {64, 65, 20}}, {64, 1, 0}, 2);
    check_prefill({2, 2, 64, 16, 0, 30, 0, {200, 29}}, {150, 29}, 3);
    check_prefill({2, 1, 256, 64, 0, 0, 20.0f, {90}}, {33}, 1);
    check_prefill({2, 1, 64, 16, 0, 100, 0, {260}}, {90}, 2);
    check_prefill({2, 2, 128, 16, 0, 0, 15.0f, {150, 20}}, {80, 20}, 3);
    check_prefill({2, 1, 64, 16, 0, 90, 5.0f, {200}}, {150}, 1);
    check_prefill_invariance(0, 0);
    check_prefill_invariance(0, 10.0f);
    check_prefill_invariance(70, 0);
    check_prefill_invariance(20, 10.0f);
    for (uint64_t order : ORDERS) check_decode({4, 1, 128, 16, 128, 0, 0, {1, 0, 77, 300}}, true, order);
    check_decode({2, 1, 64, 16, 64, 0, 0, {15, 16, 17, 64, 65}}, false, 1);
    check_decode({3, 3, 64, 32, 64, 0, 0, {1, 130}}, false, 2);
    check_decode({8, 2, 128, 64, 4096, 0, 0, {200, 3}}, true, 1);
    check_decode({4, 2, 128, 16, 64, 50, 0, {40, 50, 51, 170}}, false, 2);
    check_decode({4, 1, 256, 16, 64, 0, 30.0f, {20, 100}}, false, 1);
    check_decode({20, 1, 64, 16, 64, 0, 0, {90}}, false, 3);
    check_decode({4, 2, 96, 16, 64, 0, 0, {33, 100}}, true, 1);
    check_decode({3, 1, 80, 16, 64, 20, 0, {65}}, false, 2);
    check_decode({2, 1, 16, 16, 64, 0, 0, {70}}, false, 3);
    check_decode({2, 1, 192, 16, 64, 0, 0, {40}}, false, 1);
    check_decode({4, 1, 128, 16, 64, 0, 0, {1, 0, 77, 150}, true}, true, 1);
    check_decode({2, 1, 64, 32, 64, 0, 0, {15, 65}, true}, false, 2);
    check_decode({2, 2, 256, 16, 64, 0, 0, {30}, true}, false, 3);
    check_decode({2, 1, 112, 16, 64, 0, 0, {50, 90}, true}, false, 1);
    check_prefill({4, 2, 96, 16, 0, 0, 0, {40, 90}}, {40, 7}, 1);
    check_prefill({2, 1, 80, 16, 0, 30, 0, {70}}, {50}, 2);
    check_prefill({2, 1, 32, 16, 0, 0, 0, {66}}, {66}, 3);
    check_prefill({2, 1, 240, 16, 0, 0, 0, {50}}, {20}, 1);
    check_prefill({4, 2, 64, 16, 0, 0, 0, {40, 130}, true}, {40, 7}, 1);
    check_prefill({2, 1, 128, 32, 0, 0, 0, {70}, true}, {30}, 2);
    check_prefill({2, 1, 256, 16, 0, 0, 0, {40}, true}, {40}, 3);
    check_prefill({2, 1, 96, 16, 0, 25, 0, {70}, true}, {70}, 1);
    check_prefill({2, 1, 64, 16, 0, 0, 8.0f, {140}, true}, {40}, 2);
}
