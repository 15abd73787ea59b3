// A batch of rows for the sampling kernels, as the host would lay it out, and one run of the three kernels under the emulator.
#pragma once
#include "../sample_adjust.cu"
#include "../sample_finish.cu"
#include "../sample_weigh.cu"
#include "check.hpp"

// What one row asks for, list by list.
struct Asked {
    sampling::Row row{};
    bool has_mask = false;
    std::vector<bool> allowed;
    std::vector<u32> excluded, biases, prompt, outputs;

    Asked() {
        row.mode = sampling::GREEDY;
        row.inverse_temperature = 1.0f;
        row.top_p = 1.0f;
        row.repetition = 1.0f;
        row.num_top = row.slot = row.mask = sampling::NONE;
    }

    void exclude(u32 token, u32 after = sampling::NONE) {
        excluded.push_back(token);
        excluded.push_back(after);
    }

    void add_bias(u32 token, float bias) {
        biases.push_back(token);
        biases.push_back(float_to_bits(bias));
    }
};

// Rows with their logits, [rows, vocab], and what the kernels say of them.
class SamplingBatch {
  public:
    SamplingBatch(u32 vocab, std::vector<Asked> asked, std::vector<u32> previous = {0})
        : vocab(vocab),
          asked(std::move(asked)),
          logits(this->asked.size() * vocab),
          results(this->asked.size()),
          tops(this->asked.size() * sampling::MAX_TOP),
          tokens(this->asked.size()),
          previous_tokens(previous.size()) {
        for (size_t i = 0; i < previous.size(); i++) previous_tokens[i] = previous[i];
    }

    float* row(size_t i) const { return logits.get() + i * vocab; }

    // `order` is that of the threads.
    void run(uint64_t order) const {
        u32 rows = static_cast<u32>(asked.size()), tiles = ceil_div(vocab, sampling::TILE);
        Buffer<sampling::Row> orders(rows);
        std::vector<u32> all;
        for (u32 i = 0; i < rows; i++) orders[i] = lay_out(asked[i], all);
        Buffer<u32> lists(all.size() + 1);
        for (size_t i = 0; i < all.size(); i++) lists[i] = all[i];
        Buffer<u8> scratch(static_cast<size_t>(rows) * sampling::Scratch(vocab).bytes);
        emu::launch({{tiles, rows, 1}, {256, 1, 1}, 0, order}, [&] { sample_adjust(logits.get(), orders.get(), lists.get(), previous_tokens.get(), scratch.get(), vocab); });
        emu::launch({{tiles, rows, 1}, {256, 1, 1}, 0, order}, [&] { sample_weigh(logits.get(), orders.get(), scratch.get(), vocab); });
        emu::launch({{rows, 1, 1}, {1024, 1, 1}, 0, order}, [&] { sample_finish(logits.get(), orders.get(), scratch.get(), tokens.get(), results.get(), tops.get(), vocab); });
    }

    const u32 vocab;
    const std::vector<Asked> asked;
    const Buffer<float> logits;
    const Buffer<sampling::Result> results;
    const Buffer<sampling::TokenLogprob> tops;
    const Buffer<u32> tokens;

  private:
    const Buffer<u32> previous_tokens;

    static sampling::Piece append(const std::vector<u32>& list, u32 stride, std::vector<u32>& all) {
        u32 begin = static_cast<u32>(all.size());
        all.insert(all.end(), list.begin(), list.end());
        return {begin, static_cast<u32>(list.size()) / stride};
    }

    sampling::Row lay_out(const Asked& asked, std::vector<u32>& all) const {
        sampling::Row row = asked.row;
        if (asked.has_mask) {
            row.mask = static_cast<u32>(all.size());
            all.resize(all.size() + ceil_div(vocab, 32), 0);
            for (u32 v = 0; v < vocab; v++)
                if (asked.allowed[v]) all[row.mask + v / 32] |= 1u << v % 32;
        }
        row.excluded = append(asked.excluded, 2, all);
        row.biases = append(asked.biases, 2, all);
        row.prompt = append(asked.prompt, 1, all);
        row.outputs = append(asked.outputs, 1, all);
        return row;
    }
};
