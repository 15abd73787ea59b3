// Products with bf16 weights against f64 on ragged shapes, and for equal bits whatever the number of rows and the variant.
#include <cmath>

#include "../linear_skinny.cu"
#include "../linear_tile.cu"
#include "check.hpp"

namespace {

using Kernel = void (*)(const bf16*, const bf16*, const float*, void*, u32, u32, u32, u32, u32);

struct Variant {
    const char* name;
    Kernel kernel;
    u32 weight_rows, activation_rows, shared_bytes;
};

const Variant VARIANTS[] = {{"linear_skinny_bf16_m8", linear_skinny_bf16_m8, 16, 8, 98304},
                            {"linear_skinny_bf16_m16", linear_skinny_bf16_m16, 32, 16, 196608},
                            {"linear_skinny_bf16_m32", linear_skinny_bf16_m32, 32, 32, 196608},
                            {"linear_skinny_bf16_m64", linear_skinny_bf16_m64, 32, 64, 196608}};

const Variant TILE = {"linear_tile_bf16", linear_tile_bf16, 128, 128, 98304};

void run(const Variant& v, const bf16* x, const bf16* w, const float* bias, void* out, u32 m, u32 n, u32 k, u32 out_stride, u32 epilogue, uint64_t order) {
    emu::launch({{ceil_div(n, v.weight_rows), ceil_div(m, v.activation_rows), 1}, {256, 1, 1}, v.shared_bytes, order}, [&] { v.kernel(x, w, bias, out, m, n, k, out_stride, epilogue); });
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
    // Some results are columns of a wider matrix.
    u32 columns = epilogue >= 3 ? n / 2 : n, stride = columns + m % 3;
    Buffer<bf16> x((size_t)m * k), w((size_t)n * k), out16(f32_out ? 0 : (size_t)m * stride);
    Buffer<float> bias(n), out32(f32_out ? (size_t)m * stride : 0);
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
    run(v, x.get(), w.get(), with_bias ? bias.get() : nullptr, f32_out ? (void*)out32.get() : out16.get(), m, n, k, stride, epilogue, order);
    for (u32 i = 0; i < m; i++)
        for (u32 j = 0; j < columns; j++) {
            size_t at = (size_t)i * stride + j;
            double wanted = y[(size_t)i * n + j];
            if (epilogue == 1) wanted += before[at];
            if (epilogue >= 3) wanted = gate_of(epilogue, wanted) * y[(size_t)i * n + columns + j];
            check.compare(f32_out ? out32[at] : value_of(out16[at]), wanted);
        }
    for (u32 i = 0; i < m; i++)
        for (u32 j = columns; j < stride; j++) {
            size_t at = (size_t)i * stride + j;
            check.require(f32_out ? (double)out32[at] == before[at] : out16[at].bits == 0xffff, "a column of someone else's was written");
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
    run(VARIANTS[3], x.get(), w.get(), nullptr, wanted.get(), M, n, k, n, 2, 1);
    for (const Variant& v : VARIANTS)
        for (u32 m : {1u, 5u, 17u}) {
            Buffer<float> out(m * n);
            run(v, x.get() + 3 * k, w.get(), nullptr, out.get(), m, n, k, n, 2, 2);
            for (u32 i = 0; i < m * n; i++) check.require(float_to_bits(out[i]) == float_to_bits(wanted[3 * n + i]), "bits differ");
        }
}

// A row of a tile must have the same bits alone and among others, wherever it stands.
void check_tile_invariance() {
    constexpr u32 M = 131, N = 40, K = 200;
    Check check("linear_tile_bf16, invariance", 0, 0);
    check.describe("m %u n %u k %u; rows 100..131, and each of three alone", M, N, K);
    Random random(6);
    Buffer<bf16> x(M * K), w(N * K);
    random.fill(x, 1.0f);
    random.fill(w, 1.0f);
    Buffer<float> wanted(M * N), some(31 * N), one(N);
    run(TILE, x.get(), w.get(), nullptr, wanted.get(), M, N, K, N, 2, 1);
    run(TILE, x.get() + 100 * K, w.get(), nullptr, some.get(), 31, N, K, N, 2, 2);
    check.require(memcmp(some.get(), &wanted[100 * N], 31 * N * 4) == 0, "bits differ among fewer rows");
    for (u32 row : {0u, 77u, 130u}) {
        run(TILE, x.get() + row * K, w.get(), nullptr, one.get(), 1, N, K, N, 2, 3);
        check.require(memcmp(one.get(), &wanted[row * N], N * 4) == 0, "bits differ alone");
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
    for (u32 epilogue = 0; epilogue < 5; epilogue++) check_product(TILE, 33, 48, 328, epilogue, epilogue % 2, 1 + epilogue % 3);
    check_product(TILE, 130, 17, 64, 2, true, 1);
    check_product(TILE, 1, 272, 8, 0, false, 2);
    check_product(TILE, 20, 160, 584, 3, true, 3);
    check_product(TILE, 1200, 272, 24, 0, true, 1);
    check_tile_invariance();
}
