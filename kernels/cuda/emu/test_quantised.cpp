// Quantised products against f64 over the values that were packed; packing and unpacking against the source.
#include <cmath>

#include "../embed_packed.cu"
#include "../linear_quantised.cu"
#include "../linear_tile_quantised.cu"
#include "../pack.cu"
#include "blocks.hpp"

namespace {

using Kernel = void (*)(const bf16*, const u8*, const u8*, const u8*, const float*, void*, u32, u32, u32, u32, u32);
using Embed = void (*)(const u32*, const u8*, const u8*, const u8*, float*, u32, float);
using Unpack = void (*)(const u8*, u8*, u8*, bf16*, u32, u32, u32);

// What a format is packed from: the blocks of a file, blocks of which each four in a row share their scale and minimum, floats.
enum class Source { Blocks, AlikeBlocks, Dense };

// A number by the definition of e4m3.
double value_of_e4m3(u8 bits) {
    int exponent = bits >> 3 & 15, mantissa = bits & 7;
    double magnitude = exponent == 0 ? std::ldexp(mantissa, -9) : std::ldexp(8 + mantissa, exponent - 10);
    return bits & 0x80 ? -magnitude : magnitude;
}

struct FormatCase {
    const char* name;
    Source source;
    BlockType blocks;
    u32 bits, group;
    bool has_minima, is_float;
    Kernel kernels[3], narrow;
    u32 shared_bytes[3];
    Unpack unpack;
    Kernel tile;
    u32 tile_shared_bytes;
    Embed embed;

    u32 tile_bytes() const { return bits == 8 ? 1024 : bits == 6 ? 768 : bits == 5 ? 640 : 512; }
    // Of the kernel with half the weight rows: eight warps with four stages, each with two pieces of 512 bytes of activations.
    u32 narrow_shared_bytes() const { return (shared_bytes[0] - 32 * 1024) / 2 + 32 * 1024; }
    u32 scale_span() const { return group == 128 ? 128 : 64; }
    // Halves of a plane for one g of one span.
    u32 plane_halves() const { return group == 16 ? 8 : group == 32 ? 4 : 2; }
};

#define SKINNY(format) {linear_skinny_##format##_m8, linear_skinny_##format##_m16, linear_skinny_##format##_m32}, linear_skinny_##format##_m8_r16
const FormatCase FORMATS[] = {
    {"q4g32 from q4_0", Source::Blocks, BlockType::Q4_0, 4, 32, false, false, SKINNY(q4g32), {81920, 114688, 180224}, dequantise_q4g32, linear_tile_q4g32, 83968, embed_packed_q4g32},
    {"q4g32z from q4_1", Source::Blocks, BlockType::Q4_1, 4, 32, true, false, SKINNY(q4g32z), {98304, 131072, 196608}, dequantise_q4g32z, linear_tile_q4g32z, 90112, embed_packed_q4g32z},
    {"q4g32z from q4_k", Source::Blocks, BlockType::Q4_K, 4, 32, true, false, SKINNY(q4g32z), {98304, 131072, 196608}, dequantise_q4g32z, linear_tile_q4g32z, 90112, embed_packed_q4g32z},
    {"q4g128 from floats", Source::Dense, BlockType::Q4_0, 4, 128, false, false, SKINNY(q4g128), {73728, 106496, 172032}, dequantise_q4g128, linear_tile_q4g128, 80896, embed_packed_q4g128},
    {"q4g128 from alike q4_0", Source::AlikeBlocks, BlockType::Q4_0, 4, 128, false, false, SKINNY(q4g128), {73728, 106496, 172032}, dequantise_q4g128, linear_tile_q4g128, 80896, embed_packed_q4g128},
    {"q4g128z from alike q4_1", Source::AlikeBlocks, BlockType::Q4_1, 4, 128, true, false, SKINNY(q4g128z), {81920, 114688, 180224}, dequantise_q4g128z, linear_tile_q4g128z, 83968, embed_packed_q4g128z},
    {"q5g32 from q5_0", Source::Blocks, BlockType::Q5_0, 5, 32, false, false, SKINNY(q5g32), {90112, 122880, 188416}, dequantise_q5g32, linear_tile_q5g32, 87040, embed_packed_q5g32},
    {"q5g32z from q5_1", Source::Blocks, BlockType::Q5_1, 5, 32, true, false, SKINNY(q5g32z), {106496, 139264, 204800}, dequantise_q5g32z, linear_tile_q5g32z, 93184, embed_packed_q5g32z},
    {"q5g32z from q5_k", Source::Blocks, BlockType::Q5_K, 5, 32, true, false, SKINNY(q5g32z), {106496, 139264, 204800}, dequantise_q5g32z, linear_tile_q5g32z, 93184, embed_packed_q5g32z},
    {"q6g16 from q6_k", Source::Blocks, BlockType::Q6_K, 6, 16, false, false, SKINNY(q6g16), {114688, 147456, 212992}, dequantise_q6g16, linear_tile_q6g16, 96256, embed_packed_q6g16},
    {"q8g32 from q8_0", Source::Blocks, BlockType::Q8_0, 8, 32, false, false, SKINNY(q8g32), {114688, 147456, 212992}, dequantise_q8g32, linear_tile_q8g32, 96256, embed_packed_q8g32},
    {"q8c from floats", Source::Dense, BlockType::Q8_0, 8, 0, false, false, SKINNY(q8c), {98304, 131072, 196608}, dequantise_q8c, linear_tile_q8c, 90112, embed_packed_q8c},
    {"f8c from floats", Source::Dense, BlockType::Q8_0, 8, 0, false, true, SKINNY(f8c), {98304, 131072, 196608}, dequantise_f8c, linear_tile_f8c, 90112, embed_packed_f8c},
};

double number_of(bf16 x) { return value_of(x); }
double number_of(f16 x) { return emu::half_to_float(x.bits); }
double number_of(float x) { return x; }
void put_number(bf16& to, float x) { to.bits = emu::round_to_bf16(x); }
void put_number(f16& to, float x) { to.bits = emu::float_to_half(x); }
void put_number(float& to, float x) { to = x; }

// The kernels that quantise weights of one type.
template <class T>
struct Packers {
    const char* name;
    void (*groups)(const T*, u8*, u8*, u32, u32, u32);
    void (*rows)(const T*, u8*, float*, u32, u32, u32);
    void (*floats)(const T*, u8*, float*, u32, u32, u32);
};
const Packers<bf16> BF16_PACKERS = {"bf16", pack_q4g128, pack_q8c, pack_f8c};
const Packers<f16> F16_PACKERS = {"f16", pack_q4g128_f16, pack_q8c_f16, pack_f8c_f16};
const Packers<float> F32_PACKERS = {"f32", pack_q4g128_f32, pack_q8c_f32, pack_f8c_f32};

// A packed matrix and the values it stands for, [n, k].
struct Packed {
    u32 n, k;
    Buffer<u8> codes, scales, minima;
    std::vector<double> values;

    static size_t plane_bytes(const FormatCase& f, u32 n, u32 k) {
        if (f.group == 0) return (size_t)n * 4;
        return (size_t)ceil_div(n, 16) * ceil_div(k, f.scale_span()) * 8 * f.plane_halves() * 2;
    }
    Packed(const FormatCase& f, u32 n, u32 k)
        : n(n), k(k), codes((size_t)ceil_div(n, 16) * ceil_div(k, 64) * f.tile_bytes()), scales(plane_bytes(f, n, k)), minima(f.has_minima ? plane_bytes(f, n, k) : 0), values((size_t)n * k) {}
    Packed(const FormatCase& f, u32 n, u32 k, u32 gated, Random& random) : Packed(f, n, k) {
        emu::Launch shape{{ceil_div(n, 16), ceil_div(k, 64), 1}, {32, 1, 1}, 0, 1};
        if (f.source == Source::Blocks) {
            from_blocks(f, gated, shape, random);
        } else if (f.source == Source::AlikeBlocks) {
            from_alike_blocks(f, gated, shape, random);
        } else {
            from_dense(f, BF16_PACKERS, gated, shape, random);
        }
    }
    // From floats of the given type.
    template <class T>
    Packed(const FormatCase& f, const Packers<T>& packers, u32 n, u32 k, u32 gated, Random& random) : Packed(f, n, k) {
        from_dense(f, packers, gated, {{ceil_div(n, 16), ceil_div(k, 64), 1}, {32, 1, 1}, 0, 1}, random);
    }
    // Packed by the device: the values are what the planes say, and must be the file's but for the rounding of folded scales.
    void from_blocks(const FormatCase& f, u32 gated, const emu::Launch& shape, Random& random) {
        RandomBlocks source(f.blocks, (size_t)n * k / form_of(f.blocks).len, random);
        const u8* blocks = source.bytes.get();
        emu::launch(shape, [&] {
            switch (f.blocks) {
                case BlockType::Q4_0: pack_q4_0(blocks, codes.get(), scales.get(), n, k, gated); break;
                case BlockType::Q4_1: pack_q4_1(blocks, codes.get(), scales.get(), minima.get(), n, k, gated); break;
                case BlockType::Q5_0: pack_q5_0(blocks, codes.get(), scales.get(), n, k, gated); break;
                case BlockType::Q5_1: pack_q5_1(blocks, codes.get(), scales.get(), minima.get(), n, k, gated); break;
                case BlockType::Q8_0: pack_q8_0(blocks, codes.get(), scales.get(), n, k, gated); break;
                case BlockType::Q4_K: pack_q4_k(blocks, codes.get(), scales.get(), minima.get(), n, k, gated); break;
                case BlockType::Q5_K: pack_q5_k(blocks, codes.get(), scales.get(), minima.get(), n, k, gated); break;
                case BlockType::Q6_K: pack_q6_k(blocks, codes.get(), scales.get(), n, k, gated); break;
                default: break;
            }
        });
        read_back(f, gated);
        bool folded = form_of(f.blocks).len == 256;
        Check check(f.name, folded ? 1.2e-3 : 0.0, 0.0);
        check.describe("packed, n %u k %u gated %u", n, k, gated);
        for (size_t i = 0; i < values.size(); i++) check.compare(values[i], source.values[i]);
    }
    // Quantised by the device: the values are what unpacking gives, and must be near the source.
    template <class T>
    void from_dense(const FormatCase& f, const Packers<T>& packers, u32 gated, const emu::Launch& shape, Random& random) {
        Buffer<T> w((size_t)n * k);
        for (size_t i = 0; i < w.size(); i++) put_number(w[i], random.uniform(-1.0f, 1.0f));
        emu::launch(shape, [&] {
            if (f.bits == 4) packers.groups(w.get(), codes.get(), scales.get(), n, k, gated);
            if (f.bits == 8) (f.is_float ? packers.floats : packers.rows)(w.get(), codes.get(), (float*)scales.get(), n, k, gated);
        });
        read_back(f, gated);
        // Half a step: of four bits and eight, and of three bits behind the first.
        Check check(f.name, f.is_float ? 3e-6 : f.bits == 4 ? 0.077 : 0.0045, f.is_float ? 0.0626 : 0.004);
        check.describe("quantised from %s, n %u k %u gated %u", packers.name, n, k, gated);
        for (size_t i = 0; i < values.size(); i++) check.compare(values[i], number_of(w[i]));
    }
    // The first block of each 128 columns lends its scale and minimum to the others: nothing is lost.
    void from_alike_blocks(const FormatCase& f, u32 gated, const emu::Launch& shape, Random& random) {
        u32 bytes = form_of(f.blocks).bytes, head = f.has_minima ? 4 : 2, row_blocks = k / 32;
        RandomBlocks source(f.blocks, (size_t)n * row_blocks, random);
        for (size_t i = 0; i < (size_t)n * row_blocks; i++) memcpy(&source.bytes[i * bytes], &source.bytes[(i / row_blocks * row_blocks + i % row_blocks / 4 * 4) * bytes], head);
        const u8* blocks = source.bytes.get();
        emu::launch(shape, [&] {
            if (f.has_minima) pack_q4_1_g128(blocks, codes.get(), scales.get(), minima.get(), n, k, gated);
            else pack_q4_0_g128(blocks, codes.get(), scales.get(), n, k, gated);
        });
        read_back(f, gated);
        Check check(f.name, 0.0, 0.0);
        check.describe("packed, n %u k %u gated %u", n, k, gated);
        for (size_t row = 0; row < n; row++)
            for (u32 column = 0; column < k; column++) check.compare(values[row * k + column], value_in_block(f, blocks + (row * row_blocks + column / 32) * bytes, column % 32));
    }
    // Number `i` of a block of four bits.
    static double value_in_block(const FormatCase& f, const u8* block, u32 i) {
        u16 d, low = 0;
        memcpy(&d, block, 2);
        if (f.has_minima) memcpy(&low, block + 2, 2);
        int code = block[(f.has_minima ? 4 : 2) + i % 16] >> i / 16 * 4 & 15;
        return (double)(code - (f.has_minima ? 0 : 8)) * emu::half_to_float(d) + emu::half_to_float(low);
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
        u32 in_step = column % 64, half = r / 8, i = in_step % 4;
        u32 t = f.group == 16 ? in_step % 16 / 4 : in_step % 32 / 8, s = f.group == 16 ? in_step / 16 : in_step / 32 * 2 + in_step % 8 / 4, lane = r % 8 * 4 + t;
        const u8* base = &codes[((size_t)tile * ceil_div(k, 64) + column / 64) * f.tile_bytes()];
        u32 nibble = half + i / 2 * 2 + i % 2 * 4;
        int code;
        if (f.bits == 8) {
            u8 byte = base[(s / 2 * 32 + lane) * 16 + (s % 2 * 2 + i / 2) * 4 + half + i % 2 * 2];
            if (f.is_float) return value_of_e4m3(byte) * (double)reinterpret_cast<const float*>(scales.get())[row];
            code = (int8_t)byte;
        } else {
            code = base[lane * 16 + s * 4 + nibble / 2] >> (nibble % 2 * 4) & 15;
            u32 above[2];
            if (f.bits > 4) memcpy(above, base + 512 + lane * (f.bits == 5 ? 4 : 8), f.bits == 5 ? 4 : 8);
            if (f.bits == 5) code |= (int)(above[0] >> (4 * s + nibble % 4 + nibble / 4 * 16) & 1) << 4;
            if (f.bits == 6) code |= (int)(above[s / 2] >> (2 * (4 * (s % 2) + nibble % 4) + nibble / 4 * 16) & 3) << 4;
            code -= f.has_minima ? 0 : 1 << (f.bits - 1);
        }
        if (f.group == 0) return code * (double)reinterpret_cast<const float*>(scales.get())[row];
        u32 span = f.scale_span(), halves = f.plane_halves(), group = f.group == 128 ? 0 : in_step / f.group;
        size_t entry = (((size_t)tile * ceil_div(k, span) + column / span) * 8 + r % 8) * halves + group * 2 + half;
        u16 d, low = 0;
        memcpy(&d, &scales[entry * 2], 2);
        if (f.has_minima) memcpy(&low, &minima[entry * 2], 2);
        return (double)code * emu::half_to_float(d) + emu::half_to_float(low);
    }
};

// How a product is launched.
struct Form {
    Kernel kernel;
    u32 weight_rows, activation_rows, shared_bytes;
};

constexpr u32 TILE = 3, NARROW = 4;

// `variant` is one of the three skinny ones; TILE, the product of many rows, for which weights are rounded to bf16; or NARROW.
Form form_of(const FormatCase& f, u32 variant) {
    if (variant == TILE) return {f.tile, 128, 128, f.tile_shared_bytes};
    if (variant == NARROW) return {f.narrow, 16, 8, f.narrow_shared_bytes()};
    return {f.kernels[variant], 32, 8u << variant, f.shared_bytes[variant]};
}

void check_product(const FormatCase& f, u32 variant, u32 m, u32 n, u32 k, u32 epilogue, bool with_bias) {
    Random random(n + k + m);
    // Some results are columns of a wider matrix.
    u32 gated = epilogue >= 3, columns = gated ? n / 2 : n, stride = columns + m % 3;
    Packed w(f, n, k, gated, random);
    bool f32_out = epilogue == 1 || epilogue == 2;
    Check check(f.name, f32_out ? 1e-4 * std::sqrt(k) : 1e-3 * std::sqrt(k), f32_out ? 1e-5 : 4.2e-3);
    Form form = form_of(f, variant);
    if (variant == TILE)
        for (double& value : w.values) value = round_bf16(value);
    check.describe("m%u r%u: m %u n %u k %u epilogue %u bias %d", form.activation_rows, form.weight_rows, m, n, k, epilogue, with_bias);
    Buffer<bf16> x((size_t)m * k), out16(f32_out ? 0 : (size_t)m * stride);
    Buffer<float> bias(n), out32(f32_out ? (size_t)m * stride : 0);
    random.fill(x, 1.0f);
    random.fill(bias, -1.0f, 1.0f);
    random.fill(out32, -1.0f, 1.0f);
    std::vector<double> before(out32.get(), out32.get() + out32.size());
    emu::launch({{ceil_div(n, form.weight_rows), ceil_div(m, form.activation_rows), 1}, {256, 1, 1}, form.shared_bytes, 2}, [&] {
        form.kernel(x.get(), w.codes.get(), w.scales.get(), w.minima.get(), with_bias ? bias.get() : nullptr, f32_out ? (void*)out32.get() : out16.get(), m, n, k, stride, epilogue);
    });
    auto y = [&](u32 i, u32 j) {
        double sum = with_bias ? bias[j] : 0.0;
        for (u32 l = 0; l < k; l++) sum += value_of(x[(size_t)i * k + l]) * w.values[(size_t)j * k + l];
        return sum;
    };
    for (u32 i = 0; i < m; i++)
        for (u32 j = 0; j < columns; j++) {
            size_t at = (size_t)i * stride + j;
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

// From floats of another type than bf16, into whose planes the products above have looked.
template <class T>
void check_quantised(const FormatCase& f, const Packers<T>& packers) {
    Random random(17);
    Packed plain(f, packers, 23, 352, 0, random), gated(f, packers, 48, 128, 1, random);
}

void check_embed(const FormatCase& f, u32 n, u32 k) {
    Random random(n + k);
    Packed w(f, n, k, 0, random);
    Check check(f.name, 2e-7, 2e-7);
    check.describe("embedded, n %u k %u", n, k);
    constexpr u32 TOKENS = 3;
    Buffer<u32> ids(TOKENS);
    Buffer<float> residual(TOKENS * k);
    for (u32 t = 0; t < TOKENS; t++) ids[t] = t == 0 ? n - 1 : random.below(n);
    emu::launch({{TOKENS, 1, 1}, {256, 1, 1}, 0, 1}, [&] { f.embed(ids.get(), w.codes.get(), w.scales.get(), w.minima.get(), residual.get(), k, 1.5f); });
    for (u32 t = 0; t < TOKENS; t++)
        for (u32 i = 0; i < k; i++) check.compare(residual[t * k + i], 1.5 * w.values[(size_t)ids[t] * k + i]);
}

// The bits of a row must be the same alone, among others, and in every variant.
void check_invariance(const FormatCase& f) {
    constexpr u32 M = 32, N = 48, K = 768;
    Random random(9);
    Packed w(f, N, K, 0, random);
    Check check(f.name, 0, 0);
    check.describe("invariance: rows 1..32, all variants");
    Buffer<bf16> x(M * K);
    random.fill(x, 1.0f);
    auto run = [&](u32 variant, u32 first, u32 m, float* out) {
        Form form = form_of(f, variant);
        emu::launch({{ceil_div(N, form.weight_rows), ceil_div(m, form.activation_rows), 1}, {256, 1, 1}, form.shared_bytes, variant}, [&] {
            form.kernel(x.get() + first * K, w.codes.get(), w.scales.get(), w.minima.get(), nullptr, out, m, N, K, N, 2);
        });
    };
    Buffer<float> wanted(M * N);
    run(2, 0, M, wanted.get());
    for (u32 variant : {0u, 1u, 2u, NARROW})
        for (u32 m : {1u, 11u}) {
            Buffer<float> out(m * N);
            run(variant, 5, m, out.get());
            check.require(memcmp(out.get(), &wanted[5 * N], m * N * 4) == 0, "bits differ");
        }
}

}  // namespace

void test_quantised() {
    for (const FormatCase& f : FORMATS) {
        // The K types come in blocks of 256.
        bool wide = f.source == Source::Blocks && form_of(f.blocks).len == 256;
        check_product(f, 0, 1, 32, 256, 2, false);
        check_product(f, 0, 5, 40, wide ? 1280 : 1152, 1, true);
        check_product(f, 1, 13, 48, wide ? 256 : 128, 3, true);
        check_product(f, 2, 33, 17, wide ? 512 : 384, 0, false);
        if (!wide) check_product(f, 0, 3, 24, 544, 2, false);
        check_product(f, TILE, 20, 40, wide ? 512 : 384, 2, true);
        check_product(f, TILE, 9, 144, wide ? 256 : 128, 3, false);
        check_product(f, NARROW, 3, 40, wide ? 1280 : 1152, 2, true);
        check_product(f, NARROW, 9, 32, wide ? 256 : 96, 3, false);
        check_unpack(f, 48, 256, 1);
        check_unpack(f, 23, wide ? 512 : 384, 0);
        check_embed(f, 37, wide ? 512 : 1120);
        check_invariance(f);
        if (f.source == Source::Dense) {
            check_quantised(f, F16_PACKERS);
            check_quantised(f, F32_PACKERS);
        }
    }
}
