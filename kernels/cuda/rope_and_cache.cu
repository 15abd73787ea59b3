// Between the fused QKV product and attention: norms q and k if the model does, rotates both by position, writes k and v to the cache.
//
//   q, k of head h:  normed to unit root mean square and scaled (where a norm weight is given), then for each pair (a, b)
//                    a' = a cos - b sin,  b' = b cos + a sin
//
//   qkv        [T, (heads + 2 kv_heads) * head_dim]   bf16   in place; head_dim a multiple of 8, at most 256
//   positions  [T]                                    u32
//   slots      [T]                                    u32    block * block_size + offset; 0xffffffff for a padding row: no write
//   cos, sin   [max_positions, rotary_dim / 2]        f32
//   q_norm, k_norm  [head_dim]                        f32    or null
//   k_cache, v_cache  [blocks, kv_heads, block_size, head_dim]  bf16, or e4m3 (rope_and_cache_fp8)
//
// Pairs    (i, i + rotary_dim / 2) by default, (2i, 2i + 1) when interleaved; elements past rotary_dim are not rotated.
// Grid     (ceil((heads + 2 kv_heads) / 4), T), 128 threads: one warp a head, lane l holds elements l, l + 32, ...
// Shared   4 heads of 256 floats.
// Numbers  f32 throughout, one rounding to bf16, and one from f32 to the cache's type.
// Cost     latency bound in decode, where all but qkv is read before the wait for the kernel before; 4 bytes an element otherwise, 2 more
//          for k and v.
// Needs    sm_80 or later.
// Trusts   kernels/src/ops/rope_and_cache.rs; positions < max_positions, slots inside the cache; no kernel in flight writes either.
// Tested   emu/test_rows.cpp, against f64: one bf16 step.
// Source   Su et al., "RoFormer", 2021.
#include "kv_element.cuh"
#include "reduce.cuh"

namespace rope_detail {
constexpr u32 MAX_HEAD_DIM = 256;
constexpr u32 WARPS = 4;
constexpr u32 PER_LANE = MAX_HEAD_DIM / WARP;
constexpr u32 NO_SLOT = 0xffffffffu;

// What this lane reads of the step's lists, the tables and the norm: all that does not come from the kernel before.
struct Fixed {
    u32 slot;
    float norm[PER_LANE], cos[PER_LANE], sin[PER_LANE];
};

// The pair of the tables that turns element `i`.
DEVICE u32 pair_of(u32 i, u32 rotary_dim, bool interleaved) {
    u32 half = rotary_dim / 2;
    return interleaved ? i / 2 : i < half ? i : i - half;
}

DEVICE Fixed read_fixed(u32 slot, u32 position, const float* cos, const float* sin, const float* norm, u32 head_dim, u32 rotary_dim, bool interleaved, bool is_value) {
    Fixed fixed = {slot, {}, {}, {}};
    if (is_value) return fixed;
    u64 row = static_cast<u64>(position) * (rotary_dim / 2);
#pragma unroll
    for (u32 i = 0; i < PER_LANE; i++) {
        u32 at = i * WARP + threadIdx.x % WARP;
        fixed.norm[i] = norm && at < head_dim ? norm[at] : 1.0f;
        bool turns = at < rotary_dim;
        u64 pair = row + (turns ? pair_of(at, rotary_dim, interleaved) : 0);
        fixed.cos[i] = turns ? cos[pair] : 1.0f;
        fixed.sin[i] = turns ? sin[pair] : 0.0f;
    }
    return fixed;
}

// The value of element `i` after rotation; `head` holds all of them before it.
DEVICE float rotated(const float* head, u32 i, u32 rotary_dim, bool interleaved, float cos, float sin) {
    u32 half = rotary_dim / 2;
    if (i >= rotary_dim) return head[i];
    bool second = interleaved ? i % 2 == 1 : i >= half;
    u32 partner = interleaved ? i ^ 1 : (second ? i - half : i + half);
    return second ? head[i] * cos + head[partner] * sin : head[i] * cos - head[partner] * sin;
}

template <class Element>
DEVICE void rope(bf16* qkv, const u32* positions, const u32* slots, const float* cos, const float* sin, const float* q_norm, const float* k_norm,
                 typename Element::Stored* k_cache, typename Element::Stored* v_cache, u32 heads, u32 kv_heads, u32 head_dim, u32 rotary_dim, u32 block_size, u32 interleaved,
                 float eps) {
    SHARED_ARRAY(float, all_heads, WARPS * MAX_HEAD_DIM);
    let_next_kernel_start();
    u32 lane = threadIdx.x % WARP, warp = threadIdx.x / WARP, token = blockIdx.y;
    u32 head_idx = blockIdx.x * WARPS + warp, num_heads = heads + 2 * kv_heads;
    // Of every block one warp goes on, and waits.
    if (head_idx >= num_heads) return;
    bf16* mine = qkv + (static_cast<u64>(token) * num_heads + head_idx) * head_dim;
    bool is_query = head_idx < heads, is_value = head_idx >= heads + kv_heads;
    const float* norm = is_query ? q_norm : k_norm;
    // Read before the wait: tables and norm weights are written before any step, positions and slots by a copy before the step's
    // first kernel. A copy is complete before the kernel after it starts, and so before every later one starts, however many of
    // these overlap. It would not be enough that some other kernel stands between: that one may still be waiting, too. Hence no kernel
    // may write positions or slots unless the launch after it is an ordinary one (ABI.md).
    Fixed fixed = read_fixed(slots[token], positions[token], cos, sin, norm, head_dim, rotary_dim, interleaved != 0, is_value);
    u32 slot = fixed.slot, kv_head = is_value ? head_idx - heads - kv_heads : head_idx - heads;
    u64 cached = is_query || slot == NO_SLOT ? 0 : ((static_cast<u64>(slot / block_size) * kv_heads + kv_head) * block_size + slot % block_size) * head_dim;
    wait_for_previous_kernel();

    float values[PER_LANE], squares = 0.0f;
#pragma unroll
    for (u32 i = 0; i < PER_LANE; i++) {
        u32 at = i * WARP + lane;
        values[i] = at < head_dim ? widen(mine[at]) : 0.0f;
        squares += values[i] * values[i];
    }
    float* head = all_heads + warp * MAX_HEAD_DIM;
    if (!is_value) {
        float scale = norm ? reciprocal_root(warp_sum(squares) / static_cast<float>(head_dim) + eps) : 1.0f;
#pragma unroll
        for (u32 i = 0; i < PER_LANE; i++) {
            u32 at = i * WARP + lane;
            if (at < head_dim) head[at] = norm ? values[i] * scale * fixed.norm[i] : values[i];
        }
        __syncwarp();
#pragma unroll
        for (u32 i = 0; i < PER_LANE; i++) {
            u32 at = i * WARP + lane;
            if (at < head_dim) values[i] = rotated(head, at, rotary_dim, interleaved != 0, fixed.cos[i], fixed.sin[i]);
        }
    }
    typename Element::Stored* cache = is_value ? v_cache : k_cache;
#pragma unroll
    for (u32 i = 0; i < PER_LANE; i++) {
        u32 at = i * WARP + lane;
        if (at >= head_dim) continue;
        if (!is_value) mine[at] = narrow(values[i]);
        if (!is_query && slot != NO_SLOT) cache[cached + at] = Element::make(values[i]);
    }
}
}  // namespace rope_detail

#define ROPE_AND_CACHE(name, element)                                                                                                                        \
    KERNEL(128, 1) name(bf16* qkv, const u32* positions, const u32* slots, const float* cos, const float* sin, const float* q_norm, const float* k_norm,    \
                        element::Stored* k_cache, element::Stored* v_cache, u32 heads, u32 kv_heads, u32 head_dim, u32 rotary_dim, u32 block_size,          \
                        u32 interleaved, float eps) {                                                                                                       \
        rope_detail::rope<element>(qkv, positions, slots, cos, sin, q_norm, k_norm, k_cache, v_cache, heads, kv_heads, head_dim, rotary_dim, block_size,    \
                                   interleaved, eps);                                                                                                       \
    }
ROPE_AND_CACHE(rope_and_cache, Bf16Element)
ROPE_AND_CACHE(rope_and_cache_fp8, E4m3Element)
