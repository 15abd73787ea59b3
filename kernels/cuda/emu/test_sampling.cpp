// The choice of a token against f64: argmax with its log probability, ties and rows without a finite logit.
#include <cmath>

#include "../argmax.cu"
#include "check.hpp"

namespace {

void check_argmax(u32 rows, u32 vocab, u32 chunks, uint64_t order) {
    Check check("argmax", 1e-4, 1e-5);
    check.describe("rows %u vocab %u chunks %u order %u", rows, vocab, chunks, (u32)order);
    Random random(order + vocab);
    Buffer<float> logits(rows * vocab), logprob(rows);
    Buffer<Float4> partial(rows * chunks);
    Buffer<u32> token(rows);
    random.fill(logits, -10.0f, 10.0f);
    for (u32 r = 0; r < rows; r++) {
        // A tie, far apart: the lower index must win. One NaN, which must not.
        logits[r * vocab + vocab - 1] = logits[r * vocab + vocab / 3] = 11.0f;
        if (vocab > 8) logits[r * vocab + 5] = NAN, logits[r * vocab + 6] = -INFINITY;
    }
    emu::launch({{chunks, rows, 1}, {256, 1, 1}, 0, order}, [&] { argmax_partial(logits.get(), partial.get(), vocab, chunks); });
    emu::launch({{rows, 1, 1}, {32, 1, 1}, 0, order}, [&] { argmax_final(partial.get(), token.get(), logprob.get(), chunks); });
    for (u32 r = 0; r < rows; r++) {
        double sum = 0;
        for (u32 v = 0; v < vocab; v++)
            if (!std::isnan(logits[r * vocab + v])) sum += std::exp((double)logits[r * vocab + v] - 11.0);
        check.compare(token[r], vocab / 3);
        check.compare(logprob[r], -std::log(sum));
    }
}

}  // namespace

void test_sampling() {
    for (uint64_t order : ORDERS) check_argmax(3, 4099, 8, order);
    check_argmax(1, 7, 32, 1);
    check_argmax(2, 12800, 3, 2);
    check_argmax(1, 300, 64, 3);
}
