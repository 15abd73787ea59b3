// GGUF blocks for tests, made from their parts: a writer of each type, so that a reader is checked against something else than a reader.
#pragma once
#include "check.hpp"

enum class BlockType { Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q2_K, Q3_K, Q4_K, Q5_K, Q6_K };

// What is the same for every block of a type.
struct BlockForm {
    BlockType type;
    const char* name;
    u32 len, bytes, group, code_bits;
    // What codes are counted from where there are no minima.
    int zero;
    bool has_minima;
};

constexpr BlockForm BLOCK_FORMS[] = {
    {BlockType::Q4_0, "q4_0", 32, 18, 32, 4, 8, false},   {BlockType::Q4_1, "q4_1", 32, 20, 32, 4, 0, true},   {BlockType::Q5_0, "q5_0", 32, 22, 32, 5, 16, false},
    {BlockType::Q5_1, "q5_1", 32, 24, 32, 5, 0, true},    {BlockType::Q8_0, "q8_0", 32, 34, 32, 8, 128, false}, {BlockType::Q2_K, "q2_k", 256, 84, 16, 2, 0, true},
    {BlockType::Q3_K, "q3_k", 256, 110, 16, 3, 4, false}, {BlockType::Q4_K, "q4_k", 256, 144, 32, 4, 0, true}, {BlockType::Q5_K, "q5_k", 256, 176, 32, 5, 0, true},
    {BlockType::Q6_K, "q6_k", 256, 210, 16, 6, 32, false},
};

inline const BlockForm& form_of(BlockType type) { return BLOCK_FORMS[static_cast<size_t>(type)]; }

// Random blocks of a type: their bytes, and the numbers they stand for.
struct RandomBlocks {
    Buffer<u8> bytes;
    std::vector<double> values;

    RandomBlocks(BlockType type, size_t num_blocks, Random& random);
};
