// Quantised products against f64 over the values that were packed; packing and unpacking against the source.
#include <cmath>

#include "../linear_quantised.cu"
#include "../pack.cu"
#include "check.hpp"

namespace {

using Kernel = void (*)(const bf16*, const u8*, const u8*, const u8*, const float*, void*, u32, u32, u32, u32);
using Unpack = void (*)(const u8*, u8*, u8*, bf16*, u32, u32, u32);

enum class Source { Q4_0, Q4_1, Q8_0, Dense4, Dense8, Random4Min };

struct FormatCase {
    const char* name;
    Source source;
    u32 bits, group;
    bool has_minima;
    Kernel kernels[3];
    u32 shared_bytes[3];
    Unpack unpack;
};

const FormatCase FORMATS[] = {
    {"linear_skinny_q4g32", Source::Q4_0, 4, 32, false, {linear_skinny_q4g32_m8, linear_skinny_q4g32_m16, linear_skinny_q4g32_m32}, {81920, 114688, 180224}, dequantise_q4g32},
    {"linear_skinny_q4g32z", Source::Q4_1, 4, 32, true, {linear_skinny_q4g32z_m8, linear_skinny_q4g32z_m16, linear_skinny_q4g32z_m32}, {98304, 131072, 196608}, dequantise_q4g32z},
    {"linear_skinny_q4g128", Source::Dense4, 4, 128, false, {linear_skinny_q4g128_m8, linear_skinny_q4g128_m16, linear_skinny_q4g128_m32}, {73728, 106496, 172032}, dequantise_q4g128},
    {"linear_skinny_q4g128z", Source::Random4Min, 4, 128, true, {linear_skinny_q4g128z_m8, linear_skinny_q4g128z_m16, linear_skinny_q4g128z_m32}, {81920, 114688, 180224}, dequantise_q4g128z},
    {"linear_skinny_q8g32", Source::Q8_0, 8, 32, false, {linear_skinny_q8g32_m8, linear_skinny_q8g32_m16, linear_skinny_q8g32_m32}, {114688, 147456, 212992}, dequantise_q8g32},
    {"linear_skinny_q8c", Source::Dense8, 8, 0, false, {linear_skinny_q8c_m8, linear_skinny_q8c_m16, linear_skinny_q8c_m32}, {98304, 131072, 196608}, dequantise_q8c},
};

// A packed matrix and the values it stands for, [n, k].
struct Packed {
    u32 n, k;
    Buffer<u8> codes, scales, minima;
    std::vector<double> values;

    static size_t plane_bytes(const FormatCase& f, u32 n, u32 k) {
        if (f.group == 0) return (size_t)n * 4;
        return (size_t)ceil_div(n, 16) * ceil_div(k, f.group == 128 ? 128 : 64) * 8 * (f.group == 128 ? 4 : 8);
    }
    Packed(const FormatCase& f, u32 n, u32 k, u32 gated, Random& random)
        : n(n), k(k), codes((size_t)ceil_div(n, 16) * ceil_div(k, 64) * (f.bits / 4) * 512), scales(plane_bytes(f, n, k)), minima(f.has_minima ? plane_bytes(f, n, k) : 0), values((size_t)n * k) {
        emu::Launch shape{{ceil_div(n, 16), ceil_div(k, 64), 1}, {32, 1, 1}, 0, 1};
        if (f.source == Source::Q4_0 || f.source == Source::Q4_1 || f.source == Source::Q8_0) {
            from_blocks(f, gated, shape, random);
        } else if (f.source == Source::Random4Min) {
            from_random_bits(f, gated, random);
        } else {
            from_dense(f, gated, shape, random);
        }
    }
    void from_blocks(const FormatCase& f, u32 gated, const emu::Launch& shape, Random& random) {
        u32 head = f.has_minima ? 4 : 2, block = head + 4 * f.bits;
        Buffer<u8> blocks((size_t)n * (k / 32) * block);
        for (size_t b = 0; b < blocks.size() / block; b++) {
            u8* at = &blocks[b * block];
            u16 d = emu::float_to_half(random.uniform(0.01f, 0.1f)), low = emu::float_to_half(random.uniform(-0.5f, 0.5f));
            memcpy(at, &d, 2);
            if (f.has_minima) memcpy(at + 2, &low, 2);
            for (u32 i = head; i < block; i++) at[i] = (u8)random.bits();
            for (u32 i = 0; i < 32; i++) {
                double code = f.bits == 8 ? (int8_t)at[head + i] : (i < 16 ? at[head + i] & 15 : at[head + i - 16] >> 4) - (f.has_minima ? 0 : 8);
                values[b * 32 + i] = code * emu::half_to_float(d) + (f.has_minima ? emu::half_to_float(low) : 0.0f);
            }
        }
        emu::launch(shape, [&] {
            if (f.source == Source::Q4_0) pack_q4_0(blocks.get(), codes.get(), scales.get(), n, k, gated);
            if (f.source == Source::Q4_1) pack_q4_1(blocks.get(), codes.get(), scales.get(), minima.get(), n, k, gated);
            if (f.source == Source::Q8_0) pack_q8_0(blocks.get(), codes.get(), scales.get(), n, k, gated);
        });
    }
    // Quantised by the device: the values are what unpacking gives, and must be near the source.
    void from_dense(const FormatCase& f, u32 gated, const emu::Launch& shape, Random& random) {
        Buffer<bf16> w((size_t)n * k);
        random.fill(w, 1.0f);
        emu::launch(shape, [&] {
            if (f.source == Source::Dense4) pack_q4g128(w.get(), codes.get(), scales.get(), n, k, gated);
            if (f.source == Source::Dense8) pack_q8c(w.get(), codes.get(), (float*)scales.get(), n, k, gated);
        });
        read_back(f, gated);
        Check check(f.name, f.bits == 4 ? 0.077 : 0.0045, 0.004);
        check.describe("quantised from bf16, n %u k %u gated %u", n, k, gated);
        for (size_t i = 0; i < values.size(); i++) check.compare(values[i], value_of(w[i]));
    }
    void from_random_bits(const FormatCase& f, u32 gated, Random& random) {
        for (size_t i = 0; i < codes.size(); i++) codes[i] = (u8)random.bits();
        for (size_t i = 0; i < scales.size(); i += 2) {
            u16 d = emu::float_to_half(random.uniform(0.01f, 0.1f)), low = emu::float_to_half(random.uniform(-0.5f, 0.5f));
            memcpy(&scales[i], &d, 2);
            memcpy(&minima[i], &low, 2);
        }
        read_back(f, gated);
    }
    // The values by the layout's own words, in plain code.
    void read_back(const FormatCase& f, u32 gated) {
        for (u32 tile = 0; tile < ceil_div(n, 16); tile++)
            for (u32 r = 0; r < 16; r++) {
                u32 row = weight_row(tile, r, n, gated);
                if (row >= n) continue;
                for (u32 column = 0; column < k; column++) values[(size_t)row * k + column] = value_at(f, tile, r, row, column);
            }
    }
    double value_at(const FormatCase& f, u32 tile, u32 r, u32 row, u32 column) const {
        u32 in_step = column % 64, lane = r % 8 * 4 + in_step % 32 / 8, s = in_step / 32 * 2 + in_step % 8 / 4, i = in_step % 4, half = r / 8;
        const u8* base = &codes[((size_t)tile * ceil_div(k, 64) + column / 64) * (f.bits / 4) * 512];
        double code;
        if (f.bits == 4) {
            u32 nibble = half + i / 2 * 2 + i % 2 * 4;
            code = (base[lane * 16 + s * 4 + nibble / 2] >> (nibble % 2 * 4) & 15) - (f.has_minima ? 0 : 8);
        } else {
            code = (int8_t)base[(s / 2 * 32 + lane) * 16 + (s % 2 * 2 + i / 2) * 4 + half + i % 2 * 2];
        }
        if (f.group == 0) return code * reinterpret_cast<const float*>(scales.get())[row];
        u32 span = f.group == 128 ? 128 : 64, entry = (((u32)tile * ceil_div(k, span) + column / span) * 8 + r % 8) * (f.group == 128 ? 2 : 4) + (f.group == 128 ? half : in_step / 32 * 2 + half);
        u16 d, low = 0;
        memcpy(&d, &scales[entry * 2], 2);
        if (f.has_minima) memcpy(&low, &minima[entry * 2], 2);
        return code * emu::half_to_float(d) + emu::half_to_float(low);
    }
};

void check_product(const FormatCase& f, u32 variant, u32 m, u32 n, u32 k, u32 epilogue, bool with_bias) {
    Random random(n + k + m);
    u32 gated = epilogue >= 3, columns = gated ? n / 2 : n;
    Packed w(f, n, k, gated, random);
    bool f32_out = epilogue == 1 || epilogue == 2;
    Check check(f.name, f32_out ? 1e-4 * std::sqrt(k) : 1e-3 * std::sqrt(k), f32_out ? 1e-5 : 4.2e-3);
    check.describe("m%u: m %u n %u k %u epilogue %u bias %d", 8u << variant, m, n, k, epilogue, with_bias);
    Buffer<bf16> x((size_t)m * k), out16(f32_out ? 0 : (size_t)m * columns);
    Buffer<float> bias(n), out32(f32_out ? (size_t)m * columns : 0);
    random.fill(x, 1.0f);
    random.fill(bias, -1.0f, 1.0f);
    random.fill(out32, -1.0f, 1.0f);
    std::vector<double> before(out32.get(), out32.get() + out32.size());
    emu::launch({{ceil_div(n, 32), ceil_div(m, 8u << variant), 1}, {256, 1, 1}, f.shared_bytes[variant], 2}, [&] {
        f.kernels[variant](x.get(), w.codes.get(), w.scales.get(), w.minima.get(), with_bias ? bias.get() : nullptr, f32_out ? (void*)out32.get() : out16.get(), m, n, k, epilogue);
    });
    auto y = [&](u32 i, u32 j) {
        double sum = with_bias ? bias[j] : 0.0;
        for (u32 l = 0; l < k; l++) sum += value_of(x[(size_t)i * k + l]) * w.values[(size_t)j * k + l];
        return sum;
    };
    for (u32 i = 0; i < m; i++)
        for (u32 j = 0; j < columns; j++) {
            size_t at = (size_t)i * columns + j;
            double wanted = y(i, j);
            if (epilogue == 1) wanted += before[at];
            if (epilogue == 3) wanted = wanted / (1 + std::exp(-wanted)) * y(i, columns + j);
            check.compare(f32_out ? out32[at] : value_of(out16[at]), wanted);
        }
}

void check_unpack(const FormatCase& f, u32 n, u32 k, u32 gated) {
    Random random(n * k);
    Packed w(f, n, k, gated, random);
    Check check(f.name, 1e-6, 4.2e-3);
    check.describe("dequantised, n %u k %u gated %u", n, k, gated);
    Buffer<bf16> out((size_t)n * k);
    emu::launch({{ceil_div(n, 16), ceil_div(k, 64), 1}, {32, 1, 1}, 0, 1}, [&] { f.unpack(w.codes.get(), w.scales.get(), w.minima.get(), out.get(), n, k, gated); });
    for (size_t i = 0; i < out.size(); i++) check.compare(value_of(out[i]), w.values[i]);
}

// The bits of a row must be the same alone, among others, and in every variant.
void check_invariance(const FormatCase& f) {
    constexpr u32 M = 32, N = 48, K = 640;
    Random random(9);
    Packed w(f, N, K, 0, random);
    Check check(f.name, 0, 0);
    check.describe("invariance: rows 1..32, all variants");
    Buffer<bf16> x(M * K);
    random.fill(x, 1.0f);
    auto run = [&](u32 variant, u32 first, u32 m, float* out) {
        emu::launch({{ceil_div(N, 32), ceil_div(m, 8u << variant), 1}, {256, 1, 1}, f.shared_bytes[variant], variant}, [&] {
            f.kernels[variant](x.get() + first * K, w.codes.get(), w.scales.get(), w.minima.get(), nullptr, out, m, N, K, 2);
        });
    };
    Buffer<float> wanted(M * N);
    run(2, 0, M, wanted.get());
    for (u32 variant = 0; variant < 3; variant++)
        for (u32 m : {1u, 11u}) {
            Buffer<float> out(m * N);
            run(variant, 5, m, out.get());
            check.require(memcmp(out.get(), &wanted[5 * N], m * N * 4) == 0, "bits differ");
        }
}

}  // namespace

void test_quantised() {
    for (const FormatCase& f : FORMATS) {
        check_product(f, 0, 1, 32, 256, 2, false);
        check_product(f, 0, 5, 40, 1152, 1, true);
        check_product(f, 1, 13, 48, 128, 3, true);
        check_product(f, 2, 33, 17, 384, 0, false);
        if (f.group != 128) check_product(f, 0, 3, 24, 544, 2, false);
        check_unpack(f, 48, 256, 1);
        check_unpack(f, 23, 384, 0);
        check_invariance(f);
    }
}
