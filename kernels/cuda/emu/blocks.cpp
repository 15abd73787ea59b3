// Writes GGUF blocks of each type from codes, group scales and group minima.
#include "blocks.hpp"

namespace {

// What one block holds; groups of a type without integer scales have 1.
struct Parts {
    u32 codes[256];
    int scales[16], minima[16];
    u16 scale, minimum;
};

void put_half(u8* to, u16 bits) { memcpy(to, &bits, 2); }

// Lower nibbles of `run` bytes, then their upper ones.
void put_nibbles(u8* to, const Parts& parts, u32 len, u32 run) {
    for (u32 start = 0; start < len; start += 2 * run)
        for (u32 j = 0; j < run; j++) to[start / 2 + j] = static_cast<u8>((parts.codes[start + j] & 15) | (parts.codes[start + run + j] & 15) << 4);
}

// Bits `from`, `from + 1`, .. of the codes in runs of 32 over 32 bytes, `count` bits a code, as many runs as fit a byte.
void put_upper_bits(u8* to, const Parts& parts, u32 from, u32 count) {
    u32 runs = 8 / count;
    memset(to, 0, 32 * count);
    for (u32 i = 0; i < 256; i++) to[i / (32 * runs) * 32 + i % 32] |= static_cast<u8>((parts.codes[i] >> from & ((1u << count) - 1)) << count * (i / 32 % runs));
}

void put_k_head(u8* to, const Parts& parts) {
    put_half(to, parts.scale);
    put_half(to + 2, parts.minimum);
    for (u32 j = 0; j < 4; j++) {
        u32 scale = (u32)parts.scales[j + 4], minimum = (u32)parts.minima[j + 4];
        to[4 + j] = static_cast<u8>((u32)parts.scales[j] | scale >> 4 << 6);
        to[8 + j] = static_cast<u8>((u32)parts.minima[j] | minimum >> 4 << 6);
        to[12 + j] = static_cast<u8>((scale & 15) | (minimum & 15) << 4);
    }
}

void put_q3_k_scales(u8* to, const Parts& parts) {
    memset(to, 0, 12);
    for (u32 j = 0; j < 16; j++) {
        u32 scale = (u32)(parts.scales[j] + 32);
        to[j % 8] |= static_cast<u8>((scale & 15) << 4 * (j / 8));
        to[8 + j % 4] |= static_cast<u8>(scale >> 4 << 2 * (j / 4));
    }
}

// A block of 32: scale, perhaps minimum, perhaps fifth bits, codes.
void put_small(const BlockForm& form, const Parts& parts, u8* to) {
    put_half(to, parts.scale);
    if (form.has_minima) put_half(to + 2, parts.minimum);
    u8* rest = to + (form.has_minima ? 4 : 2);
    if (form.code_bits == 8) {
        for (u32 i = 0; i < 32; i++) rest[i] = static_cast<u8>((int)parts.codes[i] - 128);
        return;
    }
    if (form.code_bits == 5) {
        u32 bits = 0;
        for (u32 i = 0; i < 32; i++) bits |= (parts.codes[i] >> 4) << i;
        memcpy(rest, &bits, 4);
        rest += 4;
    }
    put_nibbles(rest, parts, 32, 16);
}

void put_block(const BlockForm& form, const Parts& parts, u8* to) {
    switch (form.type) {
        case BlockType::Q4_0:
        case BlockType::Q4_1:
        case BlockType::Q5_0:
        case BlockType::Q5_1:
        case BlockType::Q8_0: put_small(form, parts, to); break;
        case BlockType::Q2_K:
            for (u32 j = 0; j < 16; j++) to[j] = static_cast<u8>(parts.scales[j] | parts.minima[j] << 4);
            put_upper_bits(to + 16, parts, 0, 2);
            put_half(to + 80, parts.scale);
            put_half(to + 82, parts.minimum);
            break;
        case BlockType::Q3_K:
            put_upper_bits(to, parts, 2, 1);
            put_upper_bits(to + 32, parts, 0, 2);
            put_q3_k_scales(to + 96, parts);
            put_half(to + 108, parts.scale);
            break;
        case BlockType::Q4_K:
            put_k_head(to, parts);
            put_nibbles(to + 16, parts, 256, 32);
            break;
        case BlockType::Q5_K:
            put_k_head(to, parts);
            put_upper_bits(to + 16, parts, 4, 1);
            put_nibbles(to + 48, parts, 256, 32);
            break;
        case BlockType::Q6_K:
            put_nibbles(to, parts, 256, 64);
            put_upper_bits(to + 128, parts, 4, 2);
            for (u32 j = 0; j < 16; j++) to[192 + j] = static_cast<u8>(parts.scales[j]);
            put_half(to + 208, parts.scale);
            break;
    }
}

Parts random_parts(const BlockForm& form, Random& random) {
    Parts parts{};
    bool has_groups = form.len == 256;
    for (u32 i = 0; i < form.len; i++) parts.codes[i] = random.below(1u << form.code_bits);
    for (u32 j = 0; j < 16; j++) {
        parts.scales[j] = parts.minima[j] = 1;
        if (!has_groups) continue;
        u32 limit = form.type == BlockType::Q2_K ? 16 : 64;
        parts.scales[j] = form.type == BlockType::Q6_K ? (int)random.below(256) - 128 : (int)random.below(limit) - (form.type == BlockType::Q3_K ? 32 : 0);
        parts.minima[j] = (int)random.below(limit);
    }
    // Numbers of about the same size in every type.
    float unit = 1.0f / (float)(1u << form.code_bits), group_unit = !has_groups ? 1.0f : form.type == BlockType::Q2_K ? 1.0f / 16 : 1.0f / 64;
    parts.scale = emu::float_to_half(random.uniform(0.5f, 2.0f) * unit * group_unit);
    parts.minimum = emu::float_to_half(random.uniform(-1.0f, 1.0f) * group_unit);
    return parts;
}

}  // namespace

RandomBlocks::RandomBlocks(BlockType type, size_t num_blocks, Random& random) : bytes(num_blocks * form_of(type).bytes), values(num_blocks * form_of(type).len) {
    const BlockForm& form = form_of(type);
    for (size_t block = 0; block < num_blocks; block++) {
        Parts parts = random_parts(form, random);
        put_block(form, parts, &bytes[block * form.bytes]);
        // The K types subtract their minimum.
        double scale = emu::half_to_float(parts.scale), minimum = emu::half_to_float(parts.minimum) * (form.len == 256 ? -1.0 : 1.0);
        for (u32 i = 0; i < form.len; i++) {
            u32 group = i / form.group;
            double code = (double)parts.codes[i] - (form.has_minima ? 0 : form.zero);
            values[block * form.len + i] = scale * parts.scales[group] * code + (form.has_minima ? minimum * parts.minima[group] : 0.0);
        }
    }
}
