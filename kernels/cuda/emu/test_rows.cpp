// Row kernels against f64: embedding, norm, rope and cache write, gate, gather, soft cap, block copy, step update, random fill.
#include <cmath>

#include "../add_bias.cu"
#include "../add_rms_norm.cu"
#include "../block_copy.cu"
#include "../embed.cu"
#include "../fill_random.cu"
#include "../gated_act.cu"
#include "../gather_rows.cu"
#include "../read_bytes.cu"
#include "../rope_and_cache.cu"
#include "../soft_cap.cu"
#include "../step_update.cu"
#include "blocks.hpp"

namespace {

void check_embed(u32 tokens, u32 hidden, uint64_t order) {
    Check check("embed", 0, 0);
    check.describe("tokens %u hidden %u order %u", tokens, hidden, (u32)order);
    Random random(order);
    u32 vocab = 11;
    Buffer<u32> ids(tokens);
    Buffer<bf16> table(vocab * hidden);
    Buffer<float> residual(tokens * hidden);
    for (u32 t = 0; t < tokens; t++) ids[t] = random.below(vocab);
    random.fill(table, 1.0f);
    emu::launch({{tokens, 1, 1}, {256, 1, 1}, 0, order}, [&] { embed(ids.get(), table.get(), residual.get(), hidden, 2.0f); });
    for (u32 t = 0; t < tokens; t++)
        for (u32 h = 0; h < hidden; h++) check.compare(residual[t * hidden + h], 2.0 * value_of(table[ids[t] * hidden + h]));
}

using EmbedBlocks = void (*)(const u32*, const u8*, float*, u32, float);

void check_embed_blocks(BlockType type, EmbedBlocks kernel, u32 tokens, u32 num_blocks, uint64_t order) {
    const BlockForm& form = form_of(type);
    Check check("embed", 2e-7, 2e-7);
    u32 vocab = 7, hidden = num_blocks * form.len;
    check.describe("%s: tokens %u hidden %u", form.name, tokens, hidden);
    Random random(order + hidden);
    RandomBlocks table(type, vocab * num_blocks, random);
    Buffer<u32> ids(tokens);
    Buffer<float> residual(tokens * hidden);
    for (u32 t = 0; t < tokens; t++) ids[t] = random.below(vocab);
    emu::launch({{tokens, 1, 1}, {256, 1, 1}, 0, order}, [&] { kernel(ids.get(), table.bytes.get(), residual.get(), hidden, 1.5f); });
    for (u32 t = 0; t < tokens; t++)
        for (u32 h = 0; h < hidden; h++) check.compare(residual[t * hidden + h], 1.5 * table.values[ids[t] * hidden + h]);
}

void check_embed_floats(u32 tokens, u32 hidden) {
    Check check("embed", 0, 0);
    check.describe("f16 and f32: tokens %u hidden %u", tokens, hidden);
    Random random(hidden);
    u32 vocab = 5;
    Buffer<u32> ids(tokens);
    Buffer<f16> halves(vocab * hidden);
    Buffer<float> singles(vocab * hidden), residual(tokens * hidden);
    random.fill(singles, -1.0f, 1.0f);
    for (size_t i = 0; i < halves.size(); i++) halves[i].bits = emu::float_to_half(random.uniform(-1, 1));
    for (u32 t = 0; t < tokens; t++) ids[t] = random.below(vocab);
    emu::launch({{tokens, 1, 1}, {256, 1, 1}, 0, 1}, [&] { embed_f16(ids.get(), halves.get(), residual.get(), hidden, 2.0f); });
    for (u32 t = 0; t < tokens; t++)
        for (u32 h = 0; h < hidden; h++) check.compare(residual[t * hidden + h], 2.0 * emu::half_to_float(halves[ids[t] * hidden + h].bits));
    emu::launch({{tokens, 1, 1}, {256, 1, 1}, 0, 1}, [&] { embed_f32(ids.get(), singles.get(), residual.get(), hidden, 2.0f); });
    for (u32 t = 0; t < tokens; t++)
        for (u32 h = 0; h < hidden; h++) check.compare(residual[t * hidden + h], 2.0 * singles[ids[t] * hidden + h]);
}

void check_soft_cap(u32 count, u32 blocks, float cap) {
    Check check("soft_cap", 1e-30, 4e-7);
    check.describe("count %u blocks %u cap %g", count, blocks, cap);
    Random random(count);
    Buffer<float> x(count);
    for (u32 i = 0; i < count; i++) x[i] = random.uniform(-10, 10) * std::pow(10.0f, (float)(i % 8) - 5.0f);
    x[0] = NAN, x[1] = INFINITY, x[2] = -INFINITY;
    std::vector<double> before(x.get(), x.get() + count);
    emu::launch({{blocks, 1, 1}, {256, 1, 1}, 0, 1}, [&] { soft_cap(x.get(), count, cap); });
    check.require(std::isnan(x[0]), "what is no number became one");
    for (u32 i = 1; i < count; i++) check.compare(x[i], cap * std::tanh(before[i] / cap));
}

enum class DeltaKind { None, Plain, Normed };

void check_add_rms_norm(u32 tokens, u32 hidden, u32 threads, DeltaKind kind, uint64_t order) {
    Check check("add_rms_norm", 1e-5, 4.2e-3);
    bool with_delta = kind != DeltaKind::None;
    check.describe("tokens %u hidden %u threads %u delta %u order %u", tokens, hidden, threads, (u32)kind, (u32)order);
    Random random(order + 7);
    Buffer<float> residual(tokens * hidden), weight(hidden), delta_weight(hidden);
    random.fill(delta_weight, -0.5f, 1.5f);
    Buffer<bf16> delta(tokens * hidden), out(tokens * hidden);
    random.fill(residual, -3.0f, 3.0f);
    random.fill(weight, 0.5f, 1.5f);
    random.fill(delta, 1.0f);
    std::vector<double> sums(tokens * hidden);
    std::vector<double> scales(tokens);
    for (u32 t = 0; t < tokens; t++) {
        double delta_squares = 0, squares = 0;
        for (u32 h = 0; h < hidden; h++) delta_squares += value_of(delta[t * hidden + h]) * value_of(delta[t * hidden + h]);
        double delta_scale = 1 / std::sqrt(delta_squares / hidden + 1e-5);
        for (u32 h = 0; h < hidden; h++) {
            u32 i = t * hidden + h;
            double added = with_delta ? value_of(delta[i]) * (kind == DeltaKind::Normed ? delta_scale * delta_weight[h] : 1.0) : 0.0;
            sums[i] = (double)residual[i] + added;
            squares += sums[i] * sums[i];
        }
        scales[t] = 1 / std::sqrt(squares / hidden + 1e-5);
    }
    emu::launch({{tokens, 1, 1}, {threads, 1, 1}, 0, order}, [&] {
        add_rms_norm(residual.get(), with_delta ? delta.get() : nullptr, kind == DeltaKind::Normed ? delta_weight.get() : nullptr, weight.get(), out.get(), hidden, 1e-5f);
    });
    for (u32 i = 0; i < tokens * hidden; i++) {
        check.compare(value_of(out[i]), sums[i] * scales[i / hidden] * weight[i % hidden]);
        check.require(std::fabs(residual[i] - sums[i]) <= 2e-6, "the residual is not the sum");
    }
}

struct RopeShape {
    u32 tokens, heads, kv_heads, head_dim, rotary_dim, block_size;
    bool interleaved, with_norm;
};

void check_rope(const RopeShape& s, uint64_t order) {
    Check check("rope_and_cache", 1e-3, 4.2e-3);
    check.describe("tokens %u heads %u/%u dim %u rotary %u block %u interleaved %d norm %d", s.tokens, s.heads, s.kv_heads, s.head_dim, s.rotary_dim, s.block_size, s.interleaved, s.with_norm);
    Random random(order + 13);
    u32 all = s.heads + 2 * s.kv_heads, max_positions = 64, half = s.rotary_dim / 2, blocks = s.tokens + 2;
    Buffer<bf16> qkv(s.tokens * all * s.head_dim), before(qkv.size());
    size_t cache_size = (size_t)blocks * s.kv_heads * s.block_size * s.head_dim;
    Buffer<bf16> k_cache(cache_size), v_cache(cache_size);
    Buffer<u32> positions(s.tokens), slots(s.tokens);
    Buffer<float> cos_table(max_positions * half), sin_table(max_positions * half), norm(2 * s.head_dim);
    random.fill(qkv, 2.0f);
    random.fill(norm, 0.5f, 1.5f);
    for (size_t i = 0; i < qkv.size(); i++) before[i] = qkv[i];
    for (u32 p = 0; p < max_positions; p++)
        for (u32 i = 0; i < half; i++) {
            double angle = p * std::pow(10000.0, -2.0 * i / s.rotary_dim);
            cos_table[p * half + i] = (float)std::cos(angle);
            sin_table[p * half + i] = (float)std::sin(angle);
        }
    auto order_of_blocks = random.shuffled(blocks);
    for (u32 t = 0; t < s.tokens; t++) {
        positions[t] = random.below(max_positions);
        slots[t] = t == 1 ? 0xffffffffu : order_of_blocks[t] * s.block_size + random.below(s.block_size);
    }
    const float *q_norm = s.with_norm ? norm.get() : nullptr, *k_norm = s.with_norm ? norm.get() + s.head_dim : nullptr;
    emu::launch({{ceil_div(all, 4), s.tokens, 1}, {128, 1, 1}, 0, order}, [&] {
        rope_and_cache(qkv.get(), positions.get(), slots.get(), cos_table.get(), sin_table.get(), q_norm, k_norm, k_cache.get(), v_cache.get(), s.heads, s.kv_heads, s.head_dim,
                       s.rotary_dim, s.block_size, s.interleaved, 1e-6f);
    });
    for (u32 t = 0; t < s.tokens; t++)
        for (u32 h = 0; h < all; h++) {
            bool query = h < s.heads, value = h >= s.heads + s.kv_heads;
            u64 at = ((u64)t * all + h) * s.head_dim;
            std::vector<double> x(s.head_dim), y;
            double squares = 0;
            for (u32 i = 0; i < s.head_dim; i++) x[i] = value_of(before[at + i]), squares += x[i] * x[i];
            if (s.with_norm && !value)
                for (u32 i = 0; i < s.head_dim; i++) x[i] *= norm[(query ? 0 : s.head_dim) + i] / std::sqrt(squares / s.head_dim + 1e-6);
            y = x;
            for (u32 i = 0; !value && i < half; i++) {
                u32 a = s.interleaved ? 2 * i : i, b = s.interleaved ? 2 * i + 1 : i + half;
                double c = cos_table[positions[t] * half + i], n = sin_table[positions[t] * half + i];
                y[a] = x[a] * c - x[b] * n;
                y[b] = x[b] * c + x[a] * n;
            }
            for (u32 i = 0; i < s.head_dim; i++) {
                check.compare(value_of(qkv[at + i]), y[i]);
                if (query || slots[t] == 0xffffffffu) continue;
                u32 kv_head = value ? h - s.heads - s.kv_heads : h - s.heads;
                u64 cached = (((u64)(slots[t] / s.block_size) * s.kv_heads + kv_head) * s.block_size + slots[t] % s.block_size) * s.head_dim + i;
                check.compare(value_of((value ? v_cache : k_cache)[cached]), y[i]);
            }
        }
    size_t written = 0;
    for (size_t i = 0; i < cache_size; i++) written += k_cache[i].bits != 0xffff;
    check.require(written == (size_t)(s.tokens - (s.tokens > 1)) * s.kv_heads * s.head_dim, "a padding row wrote to the cache, or a row to the wrong place");
}

// The cache's eight-bit numbers: the nearest of all 256, ties to the even code; then the kernel that writes them.
void check_e4m3() {
    Check check("e4m3", 0, 0);
    check.describe("rounding, and reading back all numbers");
    auto value_of_code = [](u32 code) {
        double magnitude = code >> 3 & 15 ? std::ldexp(8 + (code & 7), (int)(code >> 3 & 15) - 10) : std::ldexp(code & 7, -9);
        return code & 0x80 ? -magnitude : magnitude;
    };
    auto nearest = [&](double x) {
        u32 best = 0;
        for (u32 code = 1; code < 127; code++) {
            double error = std::fabs(std::fabs(x) - value_of_code(code)), least = std::fabs(std::fabs(x) - value_of_code(best));
            if (error < least || (error == least && code % 2 == 0)) best = code;
        }
        return best | (std::signbit(x) ? 0x80u : 0u);
    };
    Random random(5);
    for (u32 i = 0; i < 4000; i++) {
        float x = random.uniform(-1, 1) * std::pow(2.0f, (float)random.below(24) - 13.0f);
        check.compare(narrow_to_e4m3(x).bits, nearest(x));
    }
    for (u32 code = 0; code < 256; code++) {
        if ((code & 127) == 127) continue;
        float x = (float)value_of_code(code);
        check.compare(narrow_to_e4m3(x).bits, code);
        // Halfway to the next, where there is one.
        if ((code & 127) < 126) check.compare(narrow_to_e4m3((float)(value_of_code(code) + value_of_code(code + 1)) / 2).bits, nearest((value_of_code(code) + value_of_code(code + 1)) / 2));
        for (u32 place = 0; place < 4; place++) {
            u32 pair = widen_e4m3_pair(code << 8 * place, place / 2);
            check.compare(place % 2 ? high_half(pair) : low_half(pair), x);
        }
    }
    for (float x : {449.0f, 1e30f, INFINITY}) check.compare(narrow_to_e4m3(x).bits, 0x7e);
}

void check_rope_fp8() {
    Check check("rope_and_cache_fp8", 0, 0);
    check.describe("2 tokens: as bf16, rounded to eight bits");
    constexpr u32 HEADS = 3, KV_HEADS = 1, DIM = 64, BLOCK = 16, COLUMNS = (HEADS + 2 * KV_HEADS) * DIM;
    Random random(4);
    Buffer<bf16> qkv(2 * COLUMNS), wide_qkv(2 * COLUMNS), wide_k(BLOCK * DIM), wide_v(BLOCK * DIM);
    Buffer<e4m3> k(BLOCK * DIM), v(BLOCK * DIM);
    Buffer<u32> positions(2), slots(2);
    Buffer<float> cos_table(2 * DIM / 2), sin_table(2 * DIM / 2);
    random.fill(qkv, 300.0f);
    for (size_t i = 0; i < qkv.size(); i++) wide_qkv[i] = qkv[i];
    // Quarter turns, so that what is rounded to bf16 first is still the same number.
    for (u32 i = 0; i < DIM; i++) cos_table[i] = i < DIM / 2 ? 1.0f : 0.0f, sin_table[i] = i < DIM / 2 ? 0.0f : 1.0f;
    for (u32 t = 0; t < 2; t++) positions[t] = t, slots[t] = 7 * t + 3;
    emu::Launch shape{{ceil_div(HEADS + 2 * KV_HEADS, 4), 2, 1}, {128, 1, 1}, 0, 1};
#define REST HEADS, KV_HEADS, DIM, DIM, BLOCK, 0, 1e-6f
    emu::launch(shape, [&] { rope_and_cache(wide_qkv.get(), positions.get(), slots.get(), cos_table.get(), sin_table.get(), nullptr, nullptr, wide_k.get(), wide_v.get(), REST); });
    emu::launch(shape, [&] { rope_and_cache_fp8(qkv.get(), positions.get(), slots.get(), cos_table.get(), sin_table.get(), nullptr, nullptr, k.get(), v.get(), REST); });
#undef REST
    for (size_t i = 0; i < qkv.size(); i++) check.require(qkv[i].bits == wide_qkv[i].bits, "q or k differs");
    for (u32 at = 0; at < BLOCK * DIM; at++) {
        bool written = at / DIM == 3 || at / DIM == 10;
        check.compare(k[at].bits, written ? narrow_to_e4m3(widen(wide_k[at])).bits : 0xff);
        check.compare(v[at].bits, written ? narrow_to_e4m3(widen(wide_v[at])).bits : 0xff);
    }
}

void check_gated_act(u32 tokens, u32 ffn, u32 kind, uint64_t order) {
    Check check("gated_act", 1e-6, 4.2e-3);
    check.describe("tokens %u ffn %u kind %u", tokens, ffn, kind);
    Random random(order + 17);
    Buffer<bf16> gate_up(tokens * 2 * ffn), out(tokens * ffn);
    random.fill(gate_up, 8.0f);
    emu::launch({{ceil_div(ffn, 2048), tokens, 1}, {256, 1, 1}, 0, order}, [&] { gated_act(gate_up.get(), out.get(), ffn, kind); });
    for (u32 t = 0; t < tokens; t++)
        for (u32 i = 0; i < ffn; i++) {
            double g = value_of(gate_up[t * 2 * ffn + i]), u = value_of(gate_up[t * 2 * ffn + ffn + i]);
            double a = kind == 0 ? g / (1 + std::exp(-g)) : 0.5 * g * (1 + std::tanh(std::sqrt(2 / M_PI) * (g + 0.044715 * g * g * g)));
            check.compare(value_of(out[t * ffn + i]), a * u);
        }
}

void check_add_bias(u32 tokens, u32 n, uint64_t order) {
    Check check("add_bias", 1e-6, 4.2e-3);
    check.describe("tokens %u n %u", tokens, n);
    Random random(order + 23);
    Buffer<bf16> x(tokens * n);
    Buffer<float> bias(n);
    random.fill(x, 8.0f);
    random.fill(bias, -3.0f, 3.0f);
    std::vector<double> wanted(tokens * n);
    for (u32 i = 0; i < tokens * n; i++) wanted[i] = value_of(x[i]) + bias[i % n];
    emu::launch({{ceil_div(n, 2048), tokens, 1}, {256, 1, 1}, 0, order}, [&] { add_bias(x.get(), bias.get(), n); });
    for (u32 i = 0; i < tokens * n; i++) check.compare(value_of(x[i]), wanted[i]);
}

void check_gather(u32 rows, u32 row_bytes, uint64_t order) {
    Check check("gather_rows", 0, 0);
    check.describe("rows %u row_bytes %u", rows, row_bytes);
    Random random(order + 19);
    u32 rows_in = 9;
    Buffer<u8> x(rows_in * row_bytes), out(rows * row_bytes);
    Buffer<u32> idx(rows);
    for (size_t i = 0; i < x.size(); i++) x[i] = (u8)random.bits();
    for (u32 r = 0; r < rows; r++) idx[r] = random.below(rows_in);
    emu::launch({{rows, 1, 1}, {256, 1, 1}, 0, order}, [&] { gather_rows(x.get(), idx.get(), out.get(), row_bytes); });
    for (u32 r = 0; r < rows; r++) check.require(memcmp(&out[r * row_bytes], &x[idx[r] * row_bytes], row_bytes) == 0, "a row differs");
}

void check_block_copy(u32 block_bytes, u32 grid_y) {
    Check check("block_copy", 0, 0);
    check.describe("3 pairs, block_bytes %u", block_bytes);
    constexpr u32 BLOCKS = 9;
    const u32 ends[6] = {4, 0, 8, 3, 4, 7}, source_of[BLOCKS] = {4, 1, 2, 8, 4, 5, 6, 4, 8};
    Random random(block_bytes);
    Buffer<u8> cache(BLOCKS * block_bytes);
    Buffer<u32> pairs(6);
    for (size_t i = 0; i < cache.size(); i++) cache[i] = (u8)random.bits();
    for (u32 i = 0; i < 6; i++) pairs[i] = ends[i];
    std::vector<u8> before(cache.get(), cache.get() + cache.size());
    emu::launch({{3, grid_y, 1}, {256, 1, 1}, 0, 1}, [&] { block_copy(cache.get(), pairs.get(), block_bytes); });
    for (u32 b = 0; b < BLOCKS; b++) check.require(memcmp(&cache[b * block_bytes], &before[source_of[b] * block_bytes], block_bytes) == 0, "a block differs");
}

void check_step_update() {
    Check check("step_inputs, step_advance", 0, 0);
    check.describe("5 entries, one padding row");
    constexpr u32 COUNT = 5, STRIDE = 4, BLOCK = 16;
    Buffer<u32> source(COUNT), sampled(COUNT), previous(COUNT), tokens(COUNT), positions(COUNT), kv_lens(COUNT), slots(COUNT), tables(COUNT * STRIDE);
    u32 sources[COUNT] = {7, 1u << 31 | 4, 0, 1u << 31, 99};
    for (u32 i = 0; i < COUNT; i++) {
        source[i] = sources[i];
        sampled[i] = 100 + i;
        positions[i] = 15 * i + 1;
        kv_lens[i] = i == 3 ? 0 : positions[i] + 1;
        slots[i] = 5;
        for (u32 j = 0; j < STRIDE; j++) tables[i * STRIDE + j] = 10 * i + j;
    }
    emu::launch({{1, 1, 1}, {256, 1, 1}, 0, 1}, [&] { step_inputs(source.get(), sampled.get(), tokens.get(), previous.get(), COUNT, COUNT); });
    u32 wanted[COUNT] = {7, 104, 0, 100, 99};
    for (u32 i = 0; i < COUNT; i++) {
        check.compare(tokens[i], wanted[i]);
        check.compare(previous[i], 100 + i);
    }
    emu::launch({{1, 1, 1}, {256, 1, 1}, 0, 1}, [&] { step_advance(sampled.get(), tokens.get(), positions.get(), kv_lens.get(), slots.get(), tables.get(), STRIDE, BLOCK, COUNT); });
    for (u32 i = 0; i < COUNT; i++) {
        bool live = i != 3;
        u32 position = 15 * i + 1 + live;
        check.compare(positions[i], position);
        check.compare(kv_lens[i], live ? position + 1 : 0);
        check.compare(tokens[i], live ? 100 + i : wanted[i]);
        check.compare(slots[i], live ? (10 * i + position / BLOCK) * BLOCK + position % BLOCK : 5);
    }
}

void check_fill_random() {
    Check check("fill_random", 0.02, 0);
    constexpr u32 COUNT = 10007;
    check.describe("%u elements: mean, range, independence of the grid", COUNT);
    Buffer<bf16> a(COUNT), b(COUNT);
    Buffer<float> f(COUNT);
    Buffer<f16> h(COUNT);
    Buffer<u8> bytes(COUNT / 16 * 16);
    emu::launch({{3, 1, 1}, {256, 1, 1}, 0, 1}, [&] { fill_random_bf16(a.get(), COUNT, 42, 0.5f); });
    emu::launch({{1, 1, 1}, {256, 1, 1}, 0, 1}, [&] { fill_random_bf16(b.get(), COUNT, 42, 0.5f); });
    emu::launch({{2, 1, 1}, {256, 1, 1}, 0, 1}, [&] { fill_random_f32(f.get(), COUNT, 1, 2.0f, 3.0f); });
    emu::launch({{2, 1, 1}, {256, 1, 1}, 0, 1}, [&] { fill_random_f16(h.get(), COUNT, 1, 2.0f, 3.0f); });
    emu::launch({{2, 1, 1}, {256, 1, 1}, 0, 1}, [&] { fill_random_bytes(bytes.get(), bytes.size(), 1); });
    double mean = 0, mean_f = 0, mean_bytes = 0;
    for (u32 i = 0; i < COUNT; i++) {
        mean += value_of(a[i]) / COUNT, mean_f += f[i] / (double)COUNT;
        check.require(a[i].bits == b[i].bits, "depends on the grid");
        check.require(std::fabs(value_of(a[i])) <= 0.5 && f[i] >= 2.0f && f[i] <= 3.0f, "out of range");
        check.compare(widen(h[i]), f[i]);
    }
    for (size_t i = 0; i < bytes.size(); i++) mean_bytes += bytes[i] / 255.0 / (double)bytes.size();
    check.compare(mean, 0.0);
    check.compare(mean_f, 2.5);
    check.compare(mean_bytes, 0.5);
}

// The last pieces of a thread lie beyond the end.
void check_read_bytes(u32 words, u32 blocks) {
    Check check("read_bytes", 0, 0);
    check.describe("%u pieces of 16 bytes, %u blocks", words / 4, blocks);
    Random random(words);
    Buffer<u32> data(words), out(blocks * 256);
    u32 wanted = 0, found = 0;
    for (u32 i = 0; i < words; i++) wanted ^= data[i] = random.below(0xffffffffu);
    emu::launch({{blocks, 1, 1}, {256, 1, 1}, 0, 1}, [&] { read_bytes(reinterpret_cast<const u8*>(data.get()), 4ull * words, out.get()); });
    for (size_t i = 0; i < out.size(); i++) found ^= out[i];
    check.require(found == wanted, "a piece was read twice or not at all");
    check.compare(out[0] != out[1], 1);
}

}  // namespace

void test_rows() {
    for (uint64_t order : ORDERS) {
        check_embed(3, 64, order);
        check_embed(2, 2056, order);
        check_add_rms_norm(3, 64, 32, DeltaKind::Plain, order);
        check_add_rms_norm(2, 896, 128, DeltaKind::None, order);
        check_add_rms_norm(1, 4096, 512, DeltaKind::Plain, order);
        check_add_rms_norm(1, 5128, 512, DeltaKind::Plain, order);
        check_add_rms_norm(2, 1152, 512, DeltaKind::Normed, order);
        check_add_rms_norm(1, 5128, 512, DeltaKind::Normed, order);
        check_add_bias(3, 40, order);
        check_add_bias(2, 2056, order);
        check_gated_act(3, 40, 0, order);
        check_gated_act(2, 2056, 1, order);
    }
    check_add_rms_norm(1, 16384, 1024, DeltaKind::Plain, 1);
    check_add_rms_norm(1, 16384, 1024, DeltaKind::Normed, 1);
    const EmbedBlocks embeds[] = {embed_q4_0, embed_q4_1, embed_q5_0, embed_q5_1, embed_q8_0, embed_q2_k, embed_q3_k, embed_q4_k, embed_q5_k, embed_q6_k};
    for (const BlockForm& form : BLOCK_FORMS) {
        check_embed_blocks(form.type, embeds[static_cast<size_t>(form.type)], 3, 1, 1);
        check_embed_blocks(form.type, embeds[static_cast<size_t>(form.type)], 2, 3, 2);
    }
    check_embed_floats(3, 40);
    check_embed_floats(1, 520);
    check_soft_cap(4999, 3, 30.0f);
    check_soft_cap(40, 7, 50.0f);
    check_rope({3, 4, 2, 64, 64, 16, false, false}, 1);
    check_rope({2, 3, 1, 128, 128, 16, false, true}, 2);
    check_rope({4, 2, 2, 96, 64, 32, true, false}, 3);
    check_rope({1, 5, 1, 256, 128, 16, true, true}, 1);
    check_e4m3();
    check_rope_fp8();
    check_gather(4, 16, 1);
    check_gather(3, 8192 + 16, 2);
    check_block_copy(48, 1);
    check_block_copy(16 * 1024 + 16, 2);
    check_step_update();
    check_fill_random();
    check_read_bytes(4 * 5003, 2);
    check_read_bytes(4 * 300, 1);
}
