// Times the hot kernels on a GPU at the shapes of Llama-3.1-8B, each against its floor in bytes, and checks their numbers.
//
//   nvcc -std=c++17 -O3 -arch=sm_90a kernels/cuda/bench/bench.cu -o bench && ./bench [part of a section's name]
//
// One line per kernel and shape: time, bytes a second, fraction of the nominal bandwidth, largest error against f64. Weights are made
// on the device. Sections: read, rows, linear, decode, prefill, step.
#include "../add_rms_norm.cu"
#include "../argmax.cu"
#include "../embed.cu"
#include "../fill_random.cu"
#include "../gated_act.cu"
#include "../linear_skinny.cu"
#include "../paged_decode.cu"
#include "../paged_prefill.cu"
#include "../rope_and_cache.cu"
#include "../step_update.cu"
#include "device.hpp"

namespace {

constexpr u32 HIDDEN = 4096, FFN = 14336, HEADS = 32, KV_HEADS = 8, HEAD_DIM = 128, VOCAB = 128256, LAYERS = 32, BLOCK = 16, CONTEXT = 1024;
constexpr u32 QKV = (HEADS + 2 * KV_HEADS) * HEAD_DIM;
constexpr double NOT_CHECKED = -1.0;

cudaStream_t stream;

double as_double(bf16 x) {
    u32 bits = static_cast<u32>(x.bits) << 16;
    float value;
    memcpy(&value, &bits, 4);
    return value;
}

void fill(const DeviceArray<bf16>& to, u64 seed, float amplitude) {
    launch(stream, Overlap::No, {dim3(1024), dim3(256)}, fill_random_bf16, to.get(), (u64)to.size(), seed, amplitude);
    CHECK(cudaStreamSynchronize(stream));
}

// Reads everything once and keeps a sum: the node's own read bandwidth, the honest floor.
__global__ void __launch_bounds__(512) read_all(const u8* from, u64 bytes, u32* sink) {
    u32 sum = 0;
    u64 stride = (u64)gridDim.x * blockDim.x * 16;
    u64 i = ((u64)blockIdx.x * blockDim.x + threadIdx.x) * 16;
    for (; i + 7 * stride < bytes; i += 8 * stride) {
        Vec16 v[8];
#pragma unroll
        for (u32 j = 0; j < 8; j++) v[j] = load_streamed(from + i + j * stride);
#pragma unroll
        for (u32 j = 0; j < 8; j++) sum += v[j].x ^ v[j].y ^ v[j].z ^ v[j].w;
    }
    if (sum == 12345) *sink = sum;
}

void bench_read() {
    DeviceArray<u8> data(8ull << 30);
    DeviceArray<u32> sink(1);
    data.zero();
    for (u32 per_sm : {2u, 4u}) {
        double us = time_us(stream, 5, 1, [&](int) { launch(stream, Overlap::No, {dim3(132 * per_sm), dim3(512)}, read_all, data.get(), (u64)data.size(), sink.get()); });
        report("read", text("8 GiB, %u CTAs an SM", per_sm), us, (double)data.size(), NOT_CHECKED);
    }
}

using Linear = void (*)(const bf16*, const bf16*, const float*, void*, u32, u32, u32, u32);

struct LinearShape {
    Linear kernel;
    u32 weight_rows, activation_rows;
    size_t shared_bytes;
};

LinearShape linear_for(u32 m) {
    if (m <= 8) return {linear_skinny_bf16_m8, 16, 8, 98304};
    if (m <= 16) return {linear_skinny_bf16_m16, 32, 16, 196608};
    if (m <= 32) return {linear_skinny_bf16_m32, 32, 32, 196608};
    return {linear_skinny_bf16_m64, 32, 64, 196608};
}

void linear(Overlap overlap, const bf16* x, const bf16* w, void* out, u32 m, u32 n, u32 k, u32 epilogue) {
    LinearShape s = linear_for(m);
    launch(stream, overlap, {dim3(ceil_div(n, s.weight_rows), ceil_div(m, s.activation_rows)), dim3(256), s.shared_bytes}, s.kernel, x, w, (const float*)nullptr, out, m, n, k, epilogue >= 3 ? n / 2 : n, epilogue);
}

// Largest error of a few rows of the last product against f64, relative to the size of its terms.
double linear_error(const DeviceArray<bf16>& x, const DeviceArray<bf16>& w, size_t w_from, const DeviceArray<float>& out, u32 m, u32 n, u32 k) {
    auto xs = x.read(0, (size_t)m * k);
    auto ys = out.read(0, (size_t)m * n);
    double worst = 0;
    for (u32 row : {0u, 1u, 17u, n / 2, n - 2, n - 1}) {
        auto ws = w.read(w_from + (size_t)row * k, k);
        for (u32 i = 0; i < m; i++) {
            double sum = 0, size = 0;
            for (u32 l = 0; l < k; l++) {
                double term = as_double(xs[(size_t)i * k + l]) * as_double(ws[l]);
                sum += term;
                size += term * term;
            }
            worst = std::max(worst, std::fabs(sum - ys[(size_t)i * n + row]) / std::sqrt(size));
        }
    }
    return worst;
}

void bench_linear() {
    struct Product {
        const char* name;
        u32 n, k, epilogue;
    };
    const Product products[] = {{"qkv", QKV, HIDDEN, 0}, {"o", HIDDEN, HIDDEN, 1}, {"gate_up", 2 * FFN, HIDDEN, 3}, {"down", HIDDEN, FFN, 1}, {"lm_head", VOCAB, HIDDEN, 2}};
    // Enough copies that none is still in L2 (50 MB) when its turn comes again.
    DeviceArray<bf16> weights(1200ull << 20), x(64 * FFN);
    DeviceArray<float> out(64ull * VOCAB);
    fill(weights, 1, 0.035f);
    fill(x, 2, 1.0f);
    for (const Product& p : products)
        for (u32 m : {1u, 2u, 4u, 8u, 16u, 32u, 64u})
            for (Overlap overlap : {Overlap::No, Overlap::Yes}) {
                size_t count = (size_t)p.n * p.k, copies = weights.size() / count;
                double us = time_us(stream, 40, 1, [&](int i) { linear(overlap, x.get(), weights.get() + i % copies * count, out.get(), m, p.n, p.k, p.epilogue); });
                linear(overlap, x.get(), weights.get(), out.get(), m, p.n, p.k, 2);
                CHECK(cudaStreamSynchronize(stream));
                double bytes = 2.0 * p.n * p.k + 2.0 * m * p.k + 2.0 * m * p.n;
                report(text("linear_skinny_bf16 %s", p.name), text("m %u n %u k %u %s", m, p.n, p.k, overlap == Overlap::Yes ? "overlap" : ""), us, bytes, linear_error(x, weights, 0, out, m, p.n, p.k));
            }
}

// The paged cache of a batch, one layer after another, and what decode attention needs beside it.
struct Batch {
    u32 sequences, max_blocks = CONTEXT / BLOCK + 1, max_splits;
    size_t layer_elements;
    DeviceArray<bf16> k, v;
    DeviceArray<u32> tables, lengths, positions, slots, split_keys, counters, tokens;
    DeviceArray<float> partial;

    static std::vector<u32> shuffled_tables(u32 blocks) {
        std::vector<u32> table(blocks);
        for (u32 i = 0; i < blocks; i++) table[i] = i;
        u64 state = 1;
        for (u32 i = blocks; i > 1; i--) {
            state = state * 6364136223846793005ull + 1442695040888963407ull;
            std::swap(table[i - 1], table[(state >> 33) % i]);
        }
        return table;
    }
    static std::vector<u32> slots_of(u32 sequences, u32 max_blocks) {
        auto table = shuffled_tables(sequences * max_blocks);
        std::vector<u32> slots(sequences);
        for (u32 s = 0; s < sequences; s++) slots[s] = table[s * max_blocks + (CONTEXT - 1) / BLOCK] * BLOCK + (CONTEXT - 1) % BLOCK;
        return slots;
    }
    Batch(u32 sequences, u32 split, u32 layers)
        : sequences(sequences), max_splits(ceil_div(CONTEXT, split)), layer_elements((size_t)sequences * max_blocks * KV_HEADS * BLOCK * HEAD_DIM), k(layers * layer_elements), v(layers * layer_elements),
          tables(shuffled_tables(sequences * max_blocks)), lengths(std::vector<u32>(sequences, CONTEXT)), positions(std::vector<u32>(sequences, CONTEXT - 1)), slots(slots_of(sequences, max_blocks)),
          split_keys(std::vector<u32>{split}), counters((size_t)sequences * KV_HEADS), tokens(std::vector<u32>(sequences, 1)), partial((size_t)sequences * HEADS * max_splits * (HEAD_DIM + 8)) {
        fill(k, 3, 1.0f);
        fill(v, 4, 1.0f);
        counters.zero();
    }
    void attend(Overlap overlap, u32 layer, const bf16* qkv, bf16* out) const {
        launch(stream, overlap, {dim3(KV_HEADS, sequences, max_splits), dim3(128), 98304}, paged_decode_bf16_d128, qkv, k.get() + layer * layer_elements, v.get() + layer * layer_elements,
               (const u32*)nullptr, tables.get(), lengths.get(), split_keys.get(), partial.get(), counters.get(), out, QKV, HEADS, KV_HEADS, HEAD_DIM, BLOCK, max_blocks, 0u, 0.08838834764831845f, 0.0f);
    }
};

// Largest error of a few heads against f64.
double decode_error(const Batch& batch, const DeviceArray<bf16>& qkv, const DeviceArray<bf16>& out) {
    double worst = 0;
    auto tables = batch.tables.read();
    for (u32 s : {0u, batch.sequences - 1})
        for (u32 h : {0u, 5u, 31u}) {
            auto q = qkv.read((size_t)s * QKV + h * HEAD_DIM, HEAD_DIM), got = out.read(((size_t)s * HEADS + h) * HEAD_DIM, HEAD_DIM);
            std::vector<double> sum(HEAD_DIM);
            double total = 0;
            for (u32 p = 0; p < CONTEXT; p++) {
                size_t at = (((size_t)tables[s * batch.max_blocks + p / BLOCK] * KV_HEADS + h / 4) * BLOCK + p % BLOCK) * HEAD_DIM;
                auto key = batch.k.read(at, HEAD_DIM), value = batch.v.read(at, HEAD_DIM);
                double dot = 0;
                for (u32 d = 0; d < HEAD_DIM; d++) dot += as_double(q[d]) * as_double(key[d]);
                double weight = std::exp(dot * 0.08838834764831845);
                total += weight;
                for (u32 d = 0; d < HEAD_DIM; d++) sum[d] += weight * as_double(value[d]);
            }
            for (u32 d = 0; d < HEAD_DIM; d++) worst = std::max(worst, std::fabs(sum[d] / total - as_double(got[d])));
        }
    return worst;
}

void bench_decode() {
    for (u32 sequences : {1u, 8u, 32u, 128u})
        for (u32 split : {64u, 128u, 256u, 512u, 1024u}) {
            // Several layers, so that a cache is not in L2 when its turn comes again.
            u32 layers = std::max(2u, 64 / sequences);
            Batch batch(sequences, split, layers);
            DeviceArray<bf16> qkv((size_t)sequences * QKV), out((size_t)sequences * HEADS * HEAD_DIM);
            fill(qkv, 5, 1.0f);
            double us = time_us(stream, 64, 1, [&](int i) { batch.attend(Overlap::Yes, i % layers, qkv.get(), out.get()); });
            batch.attend(Overlap::No, 0, qkv.get(), out.get());
            CHECK(cudaStreamSynchronize(stream));
            report("paged_decode_bf16_d128", text("batch %u context %u split %u", sequences, CONTEXT, split), us, 4.0 * sequences * CONTEXT * KV_HEADS * HEAD_DIM, decode_error(batch, qkv, out));
        }
}

// One prompt of `tokens`, nothing cached before it.
void bench_prefill() {
    for (u32 tokens : {512u, 2048u, 8192u}) {
        u32 blocks = tokens / BLOCK;
        DeviceArray<bf16> qkv((size_t)tokens * QKV), out((size_t)tokens * HEADS * HEAD_DIM), k((size_t)tokens * KV_HEADS * HEAD_DIM), v(k.size());
        auto table = Batch::shuffled_tables(blocks);
        DeviceArray<u32> tables(table), start(std::vector<u32>{0}), length(std::vector<u32>{tokens});
        fill(qkv, 20, 1.0f);
        fill(k, 21, 1.0f);
        fill(v, 22, 1.0f);
        double us = time_us(stream, 10, 1, [&](int) {
            launch(stream, Overlap::Yes, {dim3(ceil_div(tokens * HEADS / KV_HEADS, 128), KV_HEADS, 1), dim3(256), 65536}, paged_prefill_bf16_d128, qkv.get(), k.get(), v.get(), start.get(), length.get(), length.get(),
                   tables.get(), out.get(), QKV, HEADS, KV_HEADS, HEAD_DIM, BLOCK, blocks, 0u, 0.08838834764831845f, 0.0f);
        });
        double worst = 0;
        for (u32 t : {0u, 77u, tokens - 1}) {
            u32 h = t % HEADS;
            auto q = qkv.read((size_t)t * QKV + h * HEAD_DIM, HEAD_DIM), got = out.read(((size_t)t * HEADS + h) * HEAD_DIM, HEAD_DIM);
            std::vector<double> sum(HEAD_DIM);
            double total = 0;
            for (u32 p = 0; p <= t; p++) {
                size_t at = (((size_t)table[p / BLOCK] * KV_HEADS + h / 4) * BLOCK + p % BLOCK) * HEAD_DIM;
                auto key = k.read(at, HEAD_DIM), value = v.read(at, HEAD_DIM);
                double dot = 0;
                for (u32 d = 0; d < HEAD_DIM; d++) dot += as_double(q[d]) * as_double(key[d]);
                double weight = std::exp(dot * 0.08838834764831845);
                total += weight;
                for (u32 d = 0; d < HEAD_DIM; d++) sum[d] += weight * as_double(value[d]);
            }
            for (u32 d = 0; d < HEAD_DIM; d++) worst = std::max(worst, std::fabs(sum[d] / total - as_double(got[d])));
        }
        report_flops("paged_prefill_bf16_d128", text("tokens %u", tokens), us, 2.0 * tokens * (tokens + 1) * HEADS * HEAD_DIM, worst);
    }
}

void bench_rows() {
    for (u32 tokens : {1u, 32u, 2048u}) {
        DeviceArray<float> residual((size_t)tokens * HIDDEN), weight(std::vector<float>(HIDDEN, 1.0f));
        DeviceArray<bf16> delta((size_t)tokens * HIDDEN), out((size_t)tokens * HIDDEN), gate_up((size_t)tokens * 2 * FFN), gated((size_t)tokens * FFN);
        residual.zero();
        fill(delta, 6, 1.0f);
        fill(gate_up, 7, 1.0f);
        double us = time_us(stream, 50, 1, [&](int) { launch(stream, Overlap::Yes, {dim3(tokens), dim3(512)}, add_rms_norm, residual.get(), delta.get(), (const float*)nullptr, weight.get(), out.get(), HIDDEN, 1e-5f); });
        report("add_rms_norm", text("tokens %u hidden %u", tokens, HIDDEN), us, 12.0 * tokens * HIDDEN, NOT_CHECKED);
        us = time_us(stream, 50, 1, [&](int) { launch(stream, Overlap::Yes, {dim3(ceil_div(FFN, 2048), tokens), dim3(256)}, gated_act, gate_up.get(), gated.get(), FFN, 0u); });
        report("gated_act", text("tokens %u ffn %u", tokens, FFN), us, 6.0 * tokens * FFN, NOT_CHECKED);
    }
    for (u32 rows : {1u, 32u, 128u}) {
        DeviceArray<float> logits((size_t)rows * VOCAB), logprob(rows);
        DeviceArray<Float4> partial(rows * 64);
        DeviceArray<u32> token(rows);
        launch(stream, Overlap::No, {dim3(1024), dim3(256)}, fill_random_f32, logits.get(), (u64)logits.size(), 8ull, -10.0f, 10.0f);
        for (u32 chunks : {32u, 64u}) {
            double us = time_us(stream, 50, 1, [&](int) {
                launch(stream, Overlap::Yes, {dim3(chunks, rows), dim3(256)}, argmax_partial, logits.get(), partial.get(), VOCAB, chunks);
                launch(stream, Overlap::Yes, {dim3(rows), dim3(32)}, argmax_final, partial.get(), token.get(), logprob.get(), chunks);
            });
            auto host = logits.read(0, VOCAB);
            u32 best = (u32)(std::max_element(host.begin(), host.end()) - host.begin());
            report("argmax", text("rows %u vocab %u chunks %u", rows, VOCAB, chunks), us, 4.0 * rows * VOCAB, token.read()[0] == best ? 0.0 : 1.0);
        }
    }
}

// A whole decode step, all layers, as one graph: what the server will run.
struct Model {
    static constexpr size_t QKV_AT = 0, O_AT = (size_t)QKV * HIDDEN, UP_AT = O_AT + (size_t)HIDDEN * HIDDEN, DOWN_AT = UP_AT + 2ull * FFN * HIDDEN, LAYER = DOWN_AT + (size_t)HIDDEN * FFN;
    DeviceArray<bf16> layers{LAYER * LAYERS}, head{(size_t)VOCAB * HIDDEN}, table{(size_t)VOCAB * HIDDEN};
    DeviceArray<float> norm{std::vector<float>(HIDDEN, 1.0f)}, cos{std::vector<float>(CONTEXT * HEAD_DIM / 2, 1.0f)}, sin{std::vector<float>(CONTEXT * HEAD_DIM / 2, 0.0f)};
    Model() {
        fill(layers, 10, 0.035f);
        fill(head, 11, 0.035f);
        fill(table, 12, 1.0f);
    }
};

struct Activations {
    DeviceArray<float> residual, logits, logprob;
    DeviceArray<bf16> normed, qkv, attended, gated;
    DeviceArray<Float4> partial;
    DeviceArray<u32> sampled;
    explicit Activations(u32 m)
        : residual((size_t)m * HIDDEN), logits((size_t)m * VOCAB), logprob(m), normed((size_t)m * HIDDEN), qkv((size_t)m * QKV), attended((size_t)m * HIDDEN), gated((size_t)m * FFN), partial(m * 32), sampled(m) {}
};

void step(Overlap overlap, const Model& model, const Batch& batch, const Activations& a) {
    u32 m = batch.sequences;
    auto norm = [&](u32) { launch(stream, overlap, {dim3(m), dim3(512)}, add_rms_norm, a.residual.get(), (const bf16*)nullptr, (const float*)nullptr, model.norm.get(), a.normed.get(), HIDDEN, 1e-5f); };
    launch(stream, Overlap::No, {dim3(m), dim3(256)}, embed, batch.tokens.get(), model.table.get(), a.residual.get(), HIDDEN, 1.0f);
    for (u32 layer = 0; layer < LAYERS; layer++) {
        const bf16* w = model.layers.get() + layer * Model::LAYER;
        norm(layer);
        linear(overlap, a.normed.get(), w + Model::QKV_AT, a.qkv.get(), m, QKV, HIDDEN, 0);
        launch(stream, overlap, {dim3(ceil_div(HEADS + 2 * KV_HEADS, 4), m), dim3(128)}, rope_and_cache, a.qkv.get(), batch.positions.get(), batch.slots.get(), model.cos.get(), model.sin.get(),
               (const float*)nullptr, (const float*)nullptr, batch.k.get() + layer * batch.layer_elements, batch.v.get() + layer * batch.layer_elements, HEADS, KV_HEADS, HEAD_DIM, HEAD_DIM, BLOCK, 0u, 1e-5f);
        batch.attend(overlap, layer, a.qkv.get(), a.attended.get());
        linear(overlap, a.attended.get(), w + Model::O_AT, a.residual.get(), m, HIDDEN, HIDDEN, 1);
        norm(layer);
        linear(overlap, a.normed.get(), w + Model::UP_AT, a.gated.get(), m, 2 * FFN, HIDDEN, 3);
        linear(overlap, a.gated.get(), w + Model::DOWN_AT, a.residual.get(), m, HIDDEN, FFN, 1);
    }
    norm(LAYERS);
    linear(overlap, a.normed.get(), model.head.get(), a.logits.get(), m, VOCAB, HIDDEN, 2);
    launch(stream, overlap, {dim3(32, m), dim3(256)}, argmax_partial, a.logits.get(), a.partial.get(), VOCAB, 32u);
    launch(stream, overlap, {dim3(m), dim3(32)}, argmax_final, a.partial.get(), a.sampled.get(), a.logprob.get(), 32u);
}

void bench_step() {
    Model model;
    for (u32 m : {1u, 8u, 16u, 32u, 64u}) {
        Batch batch(m, m == 1 ? 64 : m <= 8 ? 256 : 1024, LAYERS);
        Activations activations(m);
        for (Overlap overlap : {Overlap::No, Overlap::Yes}) {
            cudaGraph_t graph;
            cudaGraphExec_t exec;
            step(Overlap::No, model, batch, activations);
            CHECK(cudaStreamSynchronize(stream));
            CHECK(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal));
            step(overlap, model, batch, activations);
            CHECK(cudaStreamEndCapture(stream, &graph));
            CHECK(cudaGraphInstantiate(&exec, graph, 0));
            double us = time_us(stream, 20, 1, [&](int) { CHECK(cudaGraphLaunch(exec, stream)); });
            double bytes = 2.0 * (Model::LAYER * LAYERS + (double)VOCAB * HIDDEN) + 131072.0 * m * CONTEXT;
            report("decode step bf16, graph", text("batch %u context %u %s: %.0f tok/s", m, CONTEXT, overlap == Overlap::Yes ? "overlap" : "plain", m / us * 1e6), us, bytes, NOT_CHECKED);
            CHECK(cudaGraphExecDestroy(exec));
            CHECK(cudaGraphDestroy(graph));
        }
    }
}

}  // namespace

int main(int argc, char** argv) {
    CHECK(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
    cudaDeviceProp device{};
    CHECK(cudaGetDeviceProperties(&device, 0));
    printf("%s, %d SMs, %.0f MB of L2\n", device.name, device.multiProcessorCount, device.l2CacheSize / 1e6);
    const std::pair<const char*, void (*)()> sections[] = {{"read", bench_read}, {"rows", bench_rows}, {"linear", bench_linear}, {"decode", bench_decode}, {"prefill", bench_prefill}, {"step", bench_step}};
    for (auto& [name, body] : sections)
        if (argc < 2 || std::string(name).find(argv[1]) != std::string::npos) body();
    return 0;
}
