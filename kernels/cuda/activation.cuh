// The two gates of a feed-forward block.
#pragma once
#include "ptx.cuh"

enum class Gate : u32 { Silu = 0, GeluTanh = 1 };

// x * sigmoid(x), or x times the tanh form of the normal distribution's integral.
DEVICE float gate(Gate kind, float x) {
    constexpr float LOG2_E = 1.4426950408889634f;
    if (kind == Gate::Silu) return x / (1.0f + exp2_fast(-x * LOG2_E));
    // 0.5 (1 + tanh(z)) = 1 / (1 + e^(-2z)), which neither overflows nor cancels.
    float z = 0.7978845608028654f * (x + 0.044715f * x * x * x);
    return x / (1.0f + exp2_fast(-2.0f * LOG2_E * z));
}
