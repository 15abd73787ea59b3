// The sampling kernels against plain sorting and sums in f64: every rule and cut alone and together, ties, rows that fail.
#include <algorithm>
#include <cmath>
#include <limits>

#include "sampling_batch.hpp"

using namespace sampling;

namespace {

// The logits after all rules, token by token as their definitions say.
std::vector<float> adjusted(const float* logits, u32 vocab, const Asked& asked) {
    std::vector<float> out(logits, logits + vocab);
    u32 last = asked.outputs.empty() ? NONE : asked.outputs.back();
    for (u32 v = 0; v < vocab; v++) {
        for (size_t i = 0; i < asked.biases.size(); i += 2)
            if (asked.biases[i] == v) out[v] += bits_to_float(asked.biases[i + 1]);
        float times = static_cast<float>(std::count(asked.outputs.begin(), asked.outputs.end(), v));
        bool in_prompt = std::count(asked.prompt.begin(), asked.prompt.end(), v) > 0;
        if (times > 0 || in_prompt) {
            float scaled = out[v] > 0 ? out[v] / asked.row.repetition : out[v] * asked.row.repetition;
            out[v] = scaled - asked.row.frequency * times - (times > 0 ? asked.row.presence : 0.0f);
        }
        bool excluded = asked.has_mask && !asked.allowed[v];
        for (size_t i = 0; i < asked.excluded.size(); i += 2) excluded |= asked.excluded[i] == v && (asked.excluded[i + 1] == NONE || asked.excluded[i + 1] == last);
        if (excluded) out[v] = -INFINITY;
    }
    return out;
}

// Which tokens the cuts leave, by sorting all.
std::vector<u32> kept(const std::vector<float>& logits, const Row& row) {
    u32 vocab = static_cast<u32>(logits.size());
    float maximum = *std::max_element(logits.begin(), logits.end());
    auto weight = [&](u32 v) { return std::exp(((double)logits[v] - maximum) * row.inverse_temperature); };
    std::vector<u32> ids;
    for (u32 v = 0; v < vocab; v++)
        if (weight(v) >= row.min_p - 1e-7 && (logits[v] - maximum) * row.inverse_temperature >= -87) ids.push_back(v);
    std::stable_sort(ids.begin(), ids.end(), [&](u32 a, u32 b) { return logits[a] > logits[b]; });
    if (row.top_k > 0 && row.top_k < ids.size()) ids.resize(row.top_k);
    double total = 0, sum = 0;
    for (u32 v : ids) total += weight(v);
    size_t count = 0;
    while (count < ids.size() && (row.top_p >= 1 || sum < row.top_p * total)) sum += weight(ids[count++]);
    ids.resize(count);
    std::sort(ids.begin(), ids.end());
    return ids;
}

// Whether `token` is where the row's random number leads, up to the rounding of sums.
bool is_drawn(const std::vector<float>& logits, const Row& row, u32 token) {
    float maximum = *std::max_element(logits.begin(), logits.end());
    auto weight = [&](u32 v) { return std::exp(((double)logits[v] - maximum) * row.inverse_temperature); };
    double total = 0, before = 0, after = 0;
    bool is_kept = false;
    for (u32 v : kept(logits, row)) {
        total += weight(v);
        if (v < token) before += weight(v);
        if (v <= token) after += weight(v);
        is_kept |= v == token;
    }
    double at = uniform(row) * total, slack = 1e-6 * total;
    return is_kept && before - slack <= at && at <= after + slack;
}

void check_ranking(Check& check, const SamplingBatch& batch, size_t i, double normaliser) {
    const float* logits = batch.row(i);
    const Row& row = batch.asked[i].row;
    std::vector<u32> ids(batch.vocab);
    for (u32 v = 0; v < batch.vocab; v++) ids[v] = v;
    std::stable_sort(ids.begin(), ids.end(), [&](u32 a, u32 b) { return logits[a] > logits[b]; });
    u32 rank = 0;
    for (u32 v = 0; v < batch.vocab; v++) rank += logits[v] >= logits[batch.results[i].token];
    check.compare(batch.results[i].rank, rank);
    for (u32 j = 0; j < row.num_top; j++) {
        TokenLogprob top = batch.tops[i * MAX_TOP + j];
        check.compare(top.token, j < batch.vocab ? ids[j] : NONE);
        if (j < batch.vocab) check.compare(top.logprob, logits[ids[j]] - normaliser);
    }
}

// Every row of a batch that has run.
void check_rows(Check& check, const SamplingBatch& batch) {
    for (size_t i = 0; i < batch.asked.size(); i++) {
        const Asked& asked = batch.asked[i];
        const Row& row = asked.row;
        const float* logits = batch.row(i);
        Result result = batch.results[i];
        check.require(result.status == OK, "the row has no token");
        if (result.status != OK || result.token >= batch.vocab) continue;
        std::vector<float> values = adjusted(logits, batch.vocab, asked);
        if (row.mode == GREEDY) check.compare(result.token, std::max_element(values.begin(), values.end()) - values.begin());
        if (row.mode == SCORE) check.compare(result.token, row.target);
        if (row.mode == RANDOM) check.require(is_drawn(values, row, result.token), "another token was drawn");
        if (row.slot != NONE) check.compare(batch.tokens[row.slot], result.token);
        double maximum = *std::max_element(logits, logits + batch.vocab), sum = 0;
        for (u32 v = 0; v < batch.vocab; v++) sum += std::exp(logits[v] - maximum);
        check.compare(result.logprob, logits[result.token] - maximum - std::log(sum));
        if (row.num_top != NONE) check_ranking(check, batch, i, maximum + std::log(sum));
    }
}

Asked random_row(float temperature, u32 top_k, float top_p, float min_p, u32 position) {
    Asked asked;
    asked.row.mode = RANDOM;
    asked.row.inverse_temperature = 1.0f / temperature;
    asked.row.top_k = top_k;
    asked.row.top_p = top_p;
    asked.row.min_p = min_p;
    asked.row.seed_low = 7;
    asked.row.position = position;
    return asked;
}

// Adds one rule, or all of them, to a row. The tokens of `outputs` are below 17.
void add_rule(Asked& asked, u32 rule, u32 vocab, Random& random) {
    bool all = rule == 5;
    asked.outputs = {random.below(vocab), 3 % vocab, 3 % vocab, random.below(vocab)};
    if (rule == 0 || all) {
        asked.has_mask = true;
        for (u32 v = 0; v < vocab; v++) asked.allowed.push_back(v == vocab - 1 || random.below(3) > 0);
    }
    if (rule == 1 || all)
        for (u32 i = 0; i < 9; i++)
            if (vocab > 1) asked.exclude(random.below(vocab - 1), i % 3 == 0 ? asked.outputs.back() : i % 3 == 1 ? (asked.outputs.back() + 1) % vocab : NONE);
    if (rule == 2 || all)
        for (u32 i = 0; i < 5 && i < vocab; i++) asked.add_bias((i * 7 + 2) % vocab, random.uniform(-9.0f, 9.0f));
    if (rule == 3 || all) {
        asked.row.repetition = 1.5f;
        for (u32 i = 0; i < 6; i++) asked.prompt.push_back(random.below(vocab));
    }
    if (rule == 4 || all) asked.row.frequency = 0.75f, asked.row.presence = -0.5f;
}

void fill(const SamplingBatch& batch, Random& random, bool has_ties) {
    for (size_t i = 0; i < batch.logits.size(); i++) batch.logits[i] = has_ties ? (float)random.below(40) * 0.25f : random.uniform(-6.0f, 6.0f);
}

// Rules alone and together, under each way to choose.
void check_rules(u32 vocab, uint64_t order) {
    Check check("sample rules", 2e-6, 1e-6);
    check.describe("rows 18 vocab %u order %u", vocab, (u32)order);
    Random random(order * 1000 + vocab);
    std::vector<Asked> rows;
    for (u32 rule = 0; rule < 6; rule++)
        for (u32 way = 0; way < 3; way++) {
            Asked asked = random_row(0.8f, way == 1 ? 5 : 0, way == 1 ? 0.9f : 1.0f, 0.0f, rule);
            if (way == 2) asked.row.mode = GREEDY;
            asked.row.slot = static_cast<u32>(rows.size());
            add_rule(asked, rule, vocab, random);
            rows.push_back(asked);
        }
    SamplingBatch batch(vocab, rows);
    fill(batch, random, false);
    batch.run(order);
    check_rows(check, batch);
}

// Cuts alone and together, on logits with and without ties.
void check_cuts(u32 vocab, bool has_ties, uint64_t order) {
    Check check("sample cuts", 2e-6, 1e-6);
    check.describe("vocab %u %s order %u", vocab, has_ties ? "ties" : "no ties", (u32)order);
    Random random(order * 1000 + vocab);
    std::vector<Asked> rows;
    u32 position = 0;
    for (float temperature : {0.3f, 1.7f})
        for (Asked asked : {random_row(temperature, 0, 1, 0, 0), random_row(temperature, 1, 1, 0, 0), random_row(temperature, 37, 1, 0, 0), random_row(temperature, 0, 0.3f, 0, 0),
                            random_row(temperature, 0, 0.999f, 0, 0), random_row(temperature, 0, 1, 0.2f, 0), random_row(temperature, 100, 0.5f, 0.05f, 0)}) {
            asked.row.position = position++;
            rows.push_back(asked);
        }
    SamplingBatch batch(vocab, rows);
    fill(batch, random, has_ties);
    batch.run(order);
    check_rows(check, batch);
}

// Nothing but equals, of which cuts keep the lowest ids, found by dividing buckets again and again.
void check_equals(u32 vocab, uint64_t order) {
    Check check("sample equals", 2e-6, 1e-6);
    check.describe("vocab %u order %u", vocab, (u32)order);
    std::vector<Asked> rows = {random_row(1, 1700, 1, 0, 1), random_row(1, 0, 0.6f, 0, 2), random_row(1, 2000, 0.75f, 0, 3), Asked()};
    rows[3].row.num_top = 20;
    SamplingBatch batch(vocab, rows);
    batch.logits.fill(-3.0f);
    batch.run(order);
    check_rows(check, batch);
    for (u32 i = 0; i < 3; i++) check.require(batch.results[i].token < (i == 0 ? 1700u : i == 1 ? vocab * 3 / 5 + 1 : 1500u), "a token after the cut");
}

// Rankings of what was chosen and of given tokens.
void check_scores(u32 vocab, bool has_ties, uint64_t order) {
    Check check("sample scores", 4e-6, 1e-6);
    check.describe("vocab %u %s order %u", vocab, has_ties ? "ties" : "no ties", (u32)order);
    Random random(order * 1000 + vocab);
    std::vector<Asked> rows;
    for (u32 count : {0, 1, 5, 20}) {
        Asked score;
        score.row.mode = SCORE;
        score.row.target = random.below(vocab);
        score.row.num_top = count;
        rows.push_back(score);
        Asked drawn = random_row(1, 0, 0.9f, 0, count);
        drawn.row.num_top = count;
        drawn.row.slot = static_cast<u32>(rows.size());
        rows.push_back(drawn);
    }
    SamplingBatch batch(vocab, rows);
    fill(batch, random, has_ties);
    batch.logits[vocab / 2] = -INFINITY;
    if (vocab == 1) batch.logits[0] = 2.0f;
    batch.run(order);
    check_rows(check, batch);
}

// A row that fails says why, and leaves its neighbours alone; an idle one writes nothing.
void check_failures(u32 vocab, uint64_t order) {
    Check check("sample failures", 2e-6, 1e-6);
    check.describe("rows 8 vocab %u order %u", vocab, (u32)order);
    Random random(order);
    std::vector<Asked> rows(8, random_row(1, 0, 0.8f, 0, 4));
    rows[1].row.mode = GREEDY;
    rows[2].row.mode = SCORE;
    rows[3].has_mask = true;
    rows[3].allowed.assign(vocab, false);
    rows[3].allowed[vocab / 2] = true;
    rows[3].exclude(vocab / 2);
    rows[5].row.mode = IDLE;
    for (u32 i = 0; i < 8; i++) rows[i].row.slot = 7 - i;
    SamplingBatch batch(vocab, rows);
    fill(batch, random, false);
    batch.row(1)[vocab - 1] = batch.row(1)[vocab - 2] = NAN;
    batch.row(2)[vocab / 3] = INFINITY;
    for (u32 v = 0; v < vocab; v++) batch.row(4)[v] = -INFINITY;
    batch.tokens.fill(12345);
    batch.run(order);
    const u32 statuses[8] = {OK, NOT_FINITE, NOT_FINITE, NO_TOKEN_LEFT, NOT_FINITE, 0xffffffffu, OK, OK}, firsts[5] = {0, vocab - 2, vocab / 3, 0, 0};
    for (u32 i = 0; i < 8; i++) {
        check.compare(batch.results[i].status, statuses[i]);
        if (i >= 1 && i <= 4) check.compare(batch.results[i].token, firsts[i]), check.compare(batch.tokens[7 - i], 0);
        if (statuses[i] == OK) check.require(is_drawn(adjusted(batch.row(i), vocab, rows[i]), rows[i].row, batch.results[i].token), "a neighbour drew another token");
    }
    check.compare(batch.tokens[2], 12345);
}

// A list of outputs may name the previous step's tokens.
void check_references() {
    Check check("sample references", 2e-6, 1e-6);
    check.describe("vocab 300");
    std::vector<Asked> rows(2);
    rows[0].outputs = {5, SAMPLED + 1};
    rows[0].row.frequency = 2.0f;
    rows[1].outputs = {SAMPLED + 1};
    rows[1].exclude(200, 77);
    rows[1].exclude(100, 5);
    SamplingBatch batch(300, rows, {9, 77});
    batch.logits.fill(0.0f);
    batch.row(0)[77] = 1.0f, batch.row(0)[8] = 0.5f;
    batch.row(1)[200] = 2.0f, batch.row(1)[100] = 1.0f;
    batch.run(1);
    check.compare(batch.results[0].token, 8);
    check.compare(batch.results[1].token, 100);
}

// A row's bytes do not depend on its neighbours.
void check_company(u32 vocab) {
    Check check("sample company", 0, 0);
    check.describe("vocab %u", vocab);
    Random random(vocab);
    std::vector<Asked> rows = {random_row(1, 50, 0.9f, 0.01f, 3), Asked(), random_row(1.5f, 0, 1, 0, 5)};
    SamplingBatch together(vocab, rows);
    fill(together, random, false);
    together.run(1);
    for (size_t i = 0; i < rows.size(); i++) {
        SamplingBatch alone(vocab, {rows[i]});
        std::copy(together.row(i), together.row(i) + vocab, alone.row(0));
        alone.run(2);
        check.require(memcmp(&alone.results[0], &together.results[i], sizeof(Result)) == 0, "another result in company");
    }
}

}  // namespace

void test_sampling_draw() {
    for (uint64_t order : ORDERS) check_rules(17, order), check_cuts(300, true, order);
    check_rules(1, 1);
    check_rules(5000, 2);
    check_cuts(1, false, 1);
    check_cuts(17, false, 2);
    check_cuts(4099, false, 3);
    check_cuts(9000, true, 1);
    check_equals(2500, 1);
    for (u32 vocab : {1, 17, 300, 8200}) check_scores(vocab, vocab > 200, 1);
    check_failures(300, 1);
    check_failures(4500, 2);
    check_references();
    check_company(4500);
    Check check("sample scratch", 0, 0);
    check.describe("vocab 1, 300, 128256");
    // The same figures stand in kernels/src/cuda/ops/sampling.rs.
    check.compare(Scratch(1).bytes, 12496);
    check.compare(Scratch(300).bytes, 13696);
    check.compare(Scratch(128256).bytes, 536976);
}
