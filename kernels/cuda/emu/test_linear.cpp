// Skinny products against f64 on ragged shapes, and for equal bits whatever the number of rows and the variant.
#include <cmath>

#include "../linear_skinny.cu"
#include "check.hpp"

namespace {

using Kernel = void (*)(const bf16*, const bf16*, const float*, void*, u32, u32, u32, u32);

struct Variant {
    const char* name;
    Kernel kernel;
    u32 weight_rows, activation_rows, shared_bytes;
};

const Variant VARIANTS[] = {{"linear_skinny_bf16_m8", linear_skinny_bf16_m8, 16, 8, 98304},
                            {"linear_skinny_bf16_m16", linear_skinny_bf16_m16, 32, 16, 196608},
                            {"linear_skinny_bf16_m32", linear_skinny_bf16_m32, 32, 32, 196608},
                            {"linear_skinny_bf16_m64", linear_skinny_bf16_m64, 32, 64, 196608}};

void run(const Variant& v, const bf16* x, const bf16* w, const float* bias, void* out, u32 m, u32 n, u32 k, u32 epilogue, uint64_t order) {
    emu::launch({{ceil_div(n, v.weight_rows), ceil_div(m, v.activation_rows), 1}, {256, 1, 1}, v.shared_bytes, order}, [&] { v.kernel(x, w, bias, out, m, n, k, epilogue); });
}

double gate_of(u32 epilogue, double g) {
    if (epilogue == 3) return g / (1 + std::exp(-g));
    return 0.5 * g * (1 + std::tanh(std::sqrt(2 / M_PI) * (g + 0.044715 * g * g * g)));
}

void check_product(const Variant& v, u32 m, u32 n, u32 k, u32 epilogue, bool with_bias, uint64_t order) {
    bool f32_out = epilogue == 1 || epilogue == 2;
    Check check(v.name, f32_out ? 2e-5 * std::sqrt(k) : 1e-4 * std::sqrt(k), f32_out ? 1e-5 : 4.2e-3);
    check.describe("m %u n %u k %u epilogue %u bias %d order %u", m, n, k, epilogue, with_bias, (u32)order);
    Random random(order * 1000 + n + k);
    u32 columns = epilogue >= 3 ? n / 2 : n;
    Buffer<bf16> x((size_t)m * k), w((size_t)n * k), out16(f32_out ? 0 : (size_t)m * columns);
    Buffer<float> bias(n), out32(f32_out ? (size_t)m * columns : 0);
    random.fill(x, 1.0f);
    random.fill(w, 1.0f);
    random.fill(bias, -1.0f, 1.0f);
    random.fill(out32, -1.0f, 1.0f);
    std::vector<double> before(out32.get(), out32.get() + out32.size()), y((size_t)m * n);
    for (u32 i = 0; i < m; i++)
        for (u32 j = 0; j < n; j++) {
            double sum = with_bias ? bias[j] : 0.0;
            for (u32 l = 0; l < k; l++) sum += value_of(x[(size_t)i * k + l]) * value_of(w[(size_t)j * k + l]);
            y[(size_t)i * n + j] = sum;
        }
    run(v, x.get(), w.get(), with_bias ? bias.get() : nullptr, f32_out ? (void*)out32.get() : out16.get(), m, n, k, epilogue, order);
    for (u32 i = 0; i < m; i++)
        for (u32 j = 0; j < columns; j++) {
            size_t at = (size_t)i * columns + j;
            double wanted = y[(size_t)i * n + j];
            if (epilogue == 1) wanted += before[at];
            if (epilogue >= 3) wanted = gate_of(epilogue, wanted) * y[(size_t)i * n + columns + j];
            check.compare(f32_out ? out32[at] : value_of(out16[at]), wanted);
        }
}

// The bits of a row must be the same alone, among others, and in every variant.
void check_invariance(u32 n, u32 k) {
    Check check("linear_skinny, invariance", 0, 0);
    check.describe("n %u k %u, rows 1..64, all variants", n, k);
    Random random(5);
    constexpr u32 M = 64;
    Buffer<bf16> x(M * k), w(n * k);
    random.fill(x, 1.0f);
    random.fill(w, 1.0f);
    Buffer<float> wanted(M * n);
    run(VARIANTS[3], x.get(), w.get(), nullptr, wanted.get(), M, n, k, 2, 1);
    for (const Variant& v : VARIANTS)
        for (u32 m : {1u, 5u, 17u}) {
            Buffer<float> out(m * n);
            run(v, x.get() + 3 * k, w.get(), nullptr, out.get(), m, n, k, 2, 2);
            for (u32 i = 0; i < m * n; i++) check.require(float_to_bits(out[i]) == float_to_bits(wanted[3 * n + i]), "bits differ");
        }
}

}  // namespace

void test_linear() {
    for (uint64_t order : ORDERS) check_product(VARIANTS[0], 3, 24, 1032, 0, true, order);
    for (u32 epilogue = 0; epilogue < 5; epilogue++) check_product(VARIANTS[0], 1, 48, 576, epilogue, epilogue % 2, 1);
    check_product(VARIANTS[0], 9, 17, 64, 2, false, 1);
    check_product(VARIANTS[0], 8, 16, 8, 1, true, 2);
    check_product(VARIANTS[0], 2, 16, 4096, 2, false, 2);
    check_product(VARIANTS[1], 13, 48, 896, 3, true, 1);
    check_product(VARIANTS[1], 16, 33, 584, 1, false, 2);
    check_product(VARIANTS[2], 31, 40, 328, 0, true, 1);
    check_product(VARIANTS[2], 40, 80, 200, 4, true, 2);
    check_product(VARIANTS[3], 63, 40, 328, 2, false, 1);
    check_product(VARIANTS[3], 65, 16, 136, 1, true, 2);
    check_invariance(40, 1096);
}
