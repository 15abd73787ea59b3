// The gate of a feed-forward block over a fused product: half of it passes through the activation and scales the other half.
//
//   out[t, i] = act(gate_up[t, i]) * gate_up[t, ffn + i]
//
//   gate_up  [T, 2 ffn]  bf16     ffn a multiple of 8
//   out      [T, ffn]    bf16
//
// Grid     (ceil(ffn / 2048), T), 256 threads, 8 elements a thread.
// Shared   none.
// Numbers  f32, one rounding. e^x by ex2.approx, relative error 2^-22.
// Cost     memory bound: 6 * ffn bytes a row. Small products do this in their epilogue instead (`product.cuh`).
// Needs    sm_80 or later.
// Trusts   kernels/src/ops/gated_act.rs.
// Tested   emu/test_rows.cpp, against f64.
#include "activation.cuh"

KERNEL(256, 1) gated_act(const bf16* gate_up, bf16* out, u32 ffn, u32 kind) {
    let_next_kernel_start();
    wait_for_previous_kernel();
    u32 at = (blockIdx.x * blockDim.x + threadIdx.x) * 8;
    if (at >= ffn) return;
    const bf16* row = gate_up + static_cast<u64>(blockIdx.y) * 2 * ffn + at;
    Vec16 g = *reinterpret_cast<const Vec16*>(row), u = *reinterpret_cast<const Vec16*>(row + ffn);
    auto pair = [&](u32 a, u32 b) {
        Gate act = static_cast<Gate>(kind);
        return pack_bf16(gate(act, low_half(a)) * low_half(b), gate(act, high_half(a)) * high_half(b));
    };
    *reinterpret_cast<Vec16*>(out + static_cast<u64>(blockIdx.y) * ffn + at) = Vec16{pair(g.x, u.x), pair(g.y, u.y), pair(g.z, u.z), pair(g.w, u.w)};
}
