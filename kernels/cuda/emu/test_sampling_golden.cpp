// The sampling kernels against choices of the CPU path: the same token, and the same bits of its log-probability but for the last ones.
//
// Logits and rules are made by formulas that stand here and in models/src/sampling/tests/device_golden.rs.
#include <cmath>

#include "golden_sampling.hpp"
#include "sampling_batch.hpp"

using namespace sampling;

namespace {

float logit(u32 token, u32 vocab, u32 kind) {
    u32 word = philox({token, vocab, kind, 7}, 1, 2).x;
    float even = static_cast<float>(word >> 8) / 1048576.0f - 8.0f;
    if (kind == 1) return static_cast<float>(word % 64) * 0.125f;
    if (kind == 2 && word % 97 == 0) return even + 6.0f;
    if (kind == 3) return 0.5f;
    if (kind == 4 && word % 3 == 0 && token > 0) return -INFINITY;
    return even;
}

void add_bias_once(Asked& asked, u32 token, float bias) {
    for (size_t i = 0; i < asked.biases.size(); i += 2)
        if (asked.biases[i] == token) return;
    asked.add_bias(token, bias);
}

Asked asked_by(const GoldenCase& golden) {
    u32 vocab = golden.vocab;
    Asked asked;
    Row& row = asked.row;
    row.mode = golden.is_greedy ? GREEDY : RANDOM;
    row.inverse_temperature = bits_to_float(golden.inverse_temperature);
    row.top_k = golden.top_k, row.top_p = bits_to_float(golden.top_p), row.min_p = bits_to_float(golden.min_p);
    row.seed_low = static_cast<u32>(golden.seed), row.seed_high = static_cast<u32>(golden.seed >> 32);
    row.choice = golden.choice, row.position = golden.position;
    row.num_top = 0;
    for (u32 i = 0; i < 12; i++) asked.outputs.push_back((i * i * 7 + 3) % vocab);
    if (golden.rules & 1) {
        asked.has_mask = true;
        for (u32 v = 0; v < vocab; v++) asked.allowed.push_back((v * 5 + 1) % 3 != 0 || v + 1 == vocab);
    }
    if (golden.rules & 2) {
        asked.exclude(11 % vocab, asked.outputs.back());
        asked.exclude(13 % vocab, (asked.outputs.back() + 1) % vocab);
        asked.exclude(17 % vocab);
    }
    if (golden.rules & 4) asked.exclude(2 % vocab), asked.exclude(5 % vocab);
    if (golden.rules & 8)
        for (u32 i = 0; i < 6; i++) add_bias_once(asked, (i * i * 31 + 4) % vocab, static_cast<float>(i) * 1.25f - 3.0f);
    if (golden.rules & 16) {
        row.repetition = 1.3f, row.presence = 0.4f, row.frequency = -0.2f;
        for (u32 i = 0; i < 10; i++) asked.prompt.push_back((i * 17 + 6) % vocab);
    }
    return asked;
}

// The cases from `first` on that have the same logits, as rows of one batch. Returns how many they are.
size_t check_cases(const GoldenCase* first, const GoldenCase* end, uint64_t order) {
    std::vector<Asked> rows;
    for (const GoldenCase* at = first; at < end && at->vocab == first->vocab && at->kind == first->kind; at++) rows.push_back(asked_by(*at));
    Check check("sample like the CPU", 0, 2.5e-7);
    check.describe("rows %zu vocab %u logits %u order %u", rows.size(), first->vocab, first->kind, (u32)order);
    SamplingBatch batch(first->vocab, rows);
    for (u32 i = 0; i < rows.size(); i++)
        for (u32 v = 0; v < first->vocab; v++) batch.row(i)[v] = logit(v, first->vocab, first->kind);
    batch.run(order);
    for (u32 i = 0; i < rows.size(); i++) {
        const Result& result = batch.results[i];
        check.compare(result.status, first[i].status);
        check.compare(result.token, first[i].token);
        if (first[i].status != OK) continue;
        check.compare(result.rank, first[i].rank);
        check.compare(result.logprob, bits_to_float(first[i].logprob));
    }
    return rows.size();
}

}  // namespace

void test_sampling_golden() {
    const GoldenCase* end = GOLDEN + sizeof GOLDEN / sizeof *GOLDEN;
    uint64_t order = 1;
    for (const GoldenCase* at = GOLDEN; at < end;) at += check_cases(at, end, order++);
}
