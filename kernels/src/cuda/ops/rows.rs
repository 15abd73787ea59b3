//! Kernels that treat each row by itself: norm, gated activation, gather, soft cap, rope and cache, block copies.

use half::bf16;

use super::super::buffer::{DeviceElement, DeviceSlice, DeviceSliceMut};
use super::super::device::CudaDevice;
use super::super::error::{CudaError, expect_equal};
use super::super::functions::Kernel;
use super::super::launch::{Arguments, Grid};
use super::cache_element::CacheElement;

pub(super) fn expect_multiple(
    op: &'static str,
    what: &'static str,
    found: usize,
    of: usize,
    supported: &'static str,
) -> Result<(), CudaError> {
    if found.is_multiple_of(of) {
        Ok(())
    } else {
        Err(CudaError::Unsupported { op, what, found: found.to_string(), supported })
    }
}

/// What [`add_rms_norm`] adds to the residual.
#[derive(Debug, Clone, Copy)]
pub struct Delta<'a> {
    /// `[tokens, hidden]`
    pub x: DeviceSlice<'a, bf16>,
    /// `[hidden]`: the weight of a norm of its own that is taken first, with the same epsilon, if there is one.
    pub norm: Option<DeviceSlice<'a, f32>>,
}

/// `residual += delta`, or its norm, then `out = rms_norm(residual) * weight`.
///
/// # Shapes
///
/// - `residual`, `out`: `[tokens, hidden]`; `weight`: `[hidden]`
///
/// # Errors
///
/// [`CudaError::Shape`], [`CudaError::Unsupported`] unless `hidden` is a multiple of 8 up to 16384.
pub fn add_rms_norm(
    device: &CudaDevice,
    residual: &mut DeviceSliceMut<'_, f32>,
    delta: Option<Delta<'_>>,
    weight: DeviceSlice<'_, f32>,
    epsilon: f32,
    out: &mut DeviceSliceMut<'_, bf16>,
) -> Result<(), CudaError> {
    const OP: &str = "add_rms_norm";
    let hidden = weight.len();
    let supported = "a multiple of 8 from 8 to 16384";
    expect_multiple(OP, "hidden", hidden, 8, supported)?;
    if hidden == 0 || hidden > 16_384 {
        let found = hidden.to_string();
        return Err(CudaError::Unsupported { op: OP, what: "hidden", found, supported });
    }
    expect_multiple(OP, "elements of residual", residual.len(), hidden, "whole rows")?;
    expect_equal(OP, "elements of out", out.len(), residual.len())?;
    if let Some(delta) = delta {
        expect_equal(OP, "elements of delta", delta.x.len(), residual.len())?;
        if let Some(norm) = delta.norm {
            expect_equal(OP, "elements of the delta's norm", norm.len(), hidden)?;
        }
    }
    let tokens = residual.len() / hidden;
    let arguments = Arguments::new()
        .output(residual)
        .optional_input(delta.map(|delta| delta.x))
        .optional_input(delta.and_then(|delta| delta.norm))
        .input(weight)
        .output(out)
        .size(hidden)
        .float(epsilon);
    let threads = if hidden <= 8192 { 512 } else { 1024 };
    // SAFETY: every length is checked against `tokens * hidden`; outputs are mutable borrows.
    unsafe { device.launch(Kernel::AddRmsNorm, Grid::new([tokens, 1, 1], threads), arguments) }
}

/// What a gate passes through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gate {
    /// `x * sigmoid(x)`
    Silu,
    /// GELU in its tanh form.
    GeluTanh,
}

/// `out = gate(gate_up[:, ..ffn]) * gate_up[:, ffn..]`.
///
/// # Shapes
///
/// - `gate_up`: `[tokens, 2 * ffn]`; `out`: `[tokens, ffn]`
///
/// # Errors
///
/// [`CudaError::Shape`], [`CudaError::Unsupported`] unless `ffn` is a multiple of 8.
pub fn gated_act(
    device: &CudaDevice,
    gate_up: DeviceSlice<'_, bf16>,
    gate: Gate,
    out: &mut DeviceSliceMut<'_, bf16>,
    ffn: usize,
) -> Result<(), CudaError> {
    const OP: &str = "gated_act";
    expect_multiple(OP, "ffn", ffn, 8, "a multiple of 8")?;
    expect_equal(OP, "elements of gate_up", gate_up.len(), 2 * out.len())?;
    if ffn == 0 {
        return Ok(());
    }
    expect_multiple(OP, "elements of out", out.len(), ffn, "whole rows")?;
    let tokens = out.len() / ffn;
    let kind = match gate {
        Gate::Silu => 0,
        Gate::GeluTanh => 1,
    };
    let arguments = Arguments::new().input(gate_up).output(out).size(ffn).size(kind);
    let grid = Grid::new([ffn.div_ceil(2048), tokens, 1], 256);
    // SAFETY: lengths are checked; `out` is a mutable borrow.
    unsafe { device.launch(Kernel::GatedAct, grid, arguments) }
}

/// `x[t] += bias`, for products that cannot take the bias themselves.
///
/// # Shapes
///
/// - `x`: `[tokens, n]`; `bias`: `[n]`
///
/// # Errors
///
/// [`CudaError::Shape`], [`CudaError::Unsupported`] unless `n` is a multiple of 8.
pub fn add_bias(
    device: &CudaDevice,
    x: &mut DeviceSliceMut<'_, bf16>,
    bias: DeviceSlice<'_, f32>,
) -> Result<(), CudaError> {
    const OP: &str = "add_bias";
    let n = bias.len();
    expect_multiple(OP, "n", n, 8, "a multiple of 8")?;
    if n == 0 {
        return expect_equal(OP, "elements of x", x.len(), 0);
    }
    expect_multiple(OP, "elements of x", x.len(), n, "whole rows")?;
    let tokens = x.len() / n;
    let arguments = Arguments::new().output(x).input(bias).size(n);
    let grid = Grid::new([n.div_ceil(2048), tokens, 1], 256);
    // SAFETY: lengths are checked; `x` is a mutable borrow.
    unsafe { device.launch(Kernel::AddBias, grid, arguments) }
}

/// `out[r] = x[indices[r]]`, rows of any type.
///
/// # Shapes
///
/// - `x`: `[rows_in, columns]`; `indices`: `[rows]`, each below `rows_in`; `out`: `[rows, columns]`
///
/// # Errors
///
/// [`CudaError::Shape`], [`CudaError::Unsupported`] unless a row's bytes are a multiple of 16.
pub fn gather_rows<T: DeviceElement>(
    device: &CudaDevice,
    x: DeviceSlice<'_, T>,
    indices: DeviceSlice<'_, u32>,
    out: &mut DeviceSliceMut<'_, T>,
    columns: usize,
) -> Result<(), CudaError> {
    const OP: &str = "gather_rows";
    let row_bytes = columns * size_of::<T>();
    expect_multiple(OP, "bytes of a row", row_bytes, 16, "a multiple of 16")?;
    expect_equal(OP, "elements of out", out.len(), indices.len() * columns)?;
    if columns == 0 {
        return Ok(());
    }
    expect_multiple(OP, "elements of x", x.len(), columns, "whole rows")?;
    let arguments = Arguments::new().input(x).input(indices).output(out).size(row_bytes);
    // SAFETY: lengths are checked; indices were made by the host from the batch's own rows.
    unsafe { device.launch(Kernel::GatherRows, Grid::new([indices.len(), 1, 1], 256), arguments) }
}

/// `x = cap * tanh(x / cap)`.
///
/// # Shapes
///
/// - `x`: any
///
/// # Errors
///
/// [`CudaError::Unsupported`] unless `cap` is above zero.
pub fn soft_cap(device: &CudaDevice, cap: f32, x: &mut DeviceSliceMut<'_, f32>) -> Result<(), CudaError> {
    const OP: &str = "soft_cap";
    if cap.is_nan() || cap <= 0.0 {
        let found = cap.to_string();
        return Err(CudaError::Unsupported { op: OP, what: "cap", found, supported: "a number above 0" });
    }
    // Four elements a thread; the kernel walks on where a huge `x` asks for more blocks than a grid's side has.
    let blocks = x.len().div_ceil(4 * 256).min(1 << 16);
    let arguments = Arguments::new().output(x).wide(x.len() as u64).float(cap);
    // SAFETY: the kernel touches `x.len()` elements of `x`, a mutable borrow.
    unsafe { device.launch(Kernel::SoftCap, Grid::new([blocks, 1, 1], 256), arguments) }
}

/// Copies whole blocks inside a cache: `cache[to] = cache[from]` for each pair.
///
/// # Shapes
///
/// - `cache`: `[blocks, block_elements]`, one layer's keys or its values, of any type
/// - `pairs`: `[count, 2]`, from and to; no block is written twice, and none that is written is read
///
/// # Errors
///
/// [`CudaError::Shape`], [`CudaError::Unsupported`] unless a block's bytes are a multiple of 16.
pub fn block_copy<T: DeviceElement>(
    device: &CudaDevice,
    cache: &mut DeviceSliceMut<'_, T>,
    pairs: DeviceSlice<'_, u32>,
    block_elements: usize,
) -> Result<(), CudaError> {
    const OP: &str = "block_copy";
    let block_bytes = block_elements * size_of::<T>();
    expect_multiple(OP, "bytes of a block", block_bytes, 16, "a multiple of 16")?;
    expect_multiple(OP, "elements of pairs", pairs.len(), 2, "pairs")?;
    if block_elements == 0 {
        return Ok(());
    }
    expect_multiple(OP, "elements of the cache", cache.len(), block_elements, "whole blocks")?;
    let arguments = Arguments::new().output(cache).input(pairs).wide(block_bytes as u64);
    let grid = Grid::new([pairs.len() / 2, block_bytes.div_ceil(16 * 1024).min(64), 1], 256);
    // SAFETY: the pairs were made by the host from the cache's own blocks; the cache is a mutable borrow.
    unsafe { device.launch(Kernel::BlockCopy, grid, arguments) }
}

/// How a head's dimensions pair up for rotation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RopePairs {
    /// `i` with `i + rotary_dim / 2`.
    Halves,
    /// `2 i` with `2 i + 1`.
    Interleaved,
}

/// Sizes of the heads and of the cache's blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeadShape {
    /// Query heads.
    pub heads: usize,
    /// Key and value heads.
    pub kv_heads: usize,
    /// Elements of a head; a multiple of 8 up to 256.
    pub head_dim: usize,
    /// Tokens of a cache block.
    pub block_size: usize,
}

impl HeadShape {
    /// Columns of the fused `qkv`.
    pub fn qkv_columns(&self) -> usize {
        (self.heads + 2 * self.kv_heads) * self.head_dim
    }

    /// Elements of one cache block of K, and of V.
    pub fn block_elements(&self) -> usize {
        self.kv_heads * self.block_size * self.head_dim
    }
}

/// Checks that keys and values are whole blocks, as many of each.
pub(super) fn expect_whole_cache(
    op: &'static str,
    shape: HeadShape,
    k_len: usize,
    v_len: usize,
) -> Result<(), CudaError> {
    expect_equal(op, "elements of v_cache", v_len, k_len)?;
    expect_multiple(op, "elements of k_cache", k_len, shape.block_elements().max(1), "whole blocks")
}

/// What [`rope_and_cache`] reads besides `qkv`.
#[derive(Debug, Clone, Copy)]
pub struct Rope<'a> {
    /// `[tokens]`, each below the table's rows.
    pub positions: DeviceSlice<'a, u32>,
    /// `[tokens]`: block times block size plus offset; [`PADDING_SLOT`] writes nothing.
    pub slots: DeviceSlice<'a, u32>,
    /// `[max_positions, rotary_dim / 2]`
    pub cos: DeviceSlice<'a, f32>,
    /// `[max_positions, rotary_dim / 2]`
    pub sin: DeviceSlice<'a, f32>,
    /// Dimensions that rotate; even, at most `head_dim`.
    pub rotary_dim: usize,
    /// How they pair up.
    pub pairs: RopePairs,
    /// `[head_dim]`: a norm over each query head before it rotates.
    pub q_norm: Option<DeviceSlice<'a, f32>>,
    /// `[head_dim]`: the same for keys.
    pub k_norm: Option<DeviceSlice<'a, f32>>,
    /// Added to the mean square of those norms.
    pub epsilon: f32,
}

/// The slot of a row that is there only to fill up a batch: nothing is written for it.
pub const PADDING_SLOT: u32 = u32::MAX;

/// Normalises and rotates q and k in place, and writes k and v into the cache.
///
/// # Shapes
///
/// - `qkv`: `[tokens, (heads + 2 * kv_heads) * head_dim]`
/// - `k_cache`, `v_cache`: `[blocks, kv_heads, block_size, head_dim]`
///
/// # Errors
///
/// [`CudaError::Shape`], [`CudaError::Unsupported`] for a head size that is not a multiple of 8 up to 256.
pub fn rope_and_cache<T: CacheElement>(
    device: &CudaDevice,
    qkv: &mut DeviceSliceMut<'_, bf16>,
    rope: &Rope<'_>,
    k_cache: &mut DeviceSliceMut<'_, T>,
    v_cache: &mut DeviceSliceMut<'_, T>,
    shape: HeadShape,
) -> Result<(), CudaError> {
    const OP: &str = "rope_and_cache";
    let HeadShape { heads, kv_heads, head_dim, block_size } = shape;
    let supported = "a multiple of 8 from 8 to 256";
    expect_multiple(OP, "head_dim", head_dim, 8, supported)?;
    if head_dim == 0 || head_dim > 256 || rope.rotary_dim > head_dim || !rope.rotary_dim.is_multiple_of(2) {
        let found = format!("{head_dim} with {} rotating", rope.rotary_dim);
        return Err(CudaError::Unsupported { op: OP, what: "head_dim", found, supported });
    }
    let tokens = rope.positions.len();
    expect_equal(OP, "slots", rope.slots.len(), tokens)?;
    expect_equal(OP, "elements of qkv", qkv.len(), tokens * shape.qkv_columns())?;
    expect_equal(OP, "elements of sin", rope.sin.len(), rope.cos.len())?;
    expect_multiple(OP, "elements of cos", rope.cos.len(), (rope.rotary_dim / 2).max(1), "whole rows")?;
    for norm in [rope.q_norm, rope.k_norm].into_iter().flatten() {
        expect_equal(OP, "elements of a head's norm", norm.len(), head_dim)?;
    }
    expect_whole_cache(OP, shape, k_cache.len(), v_cache.len())?;
    let interleaved = match rope.pairs {
        RopePairs::Halves => 0,
        RopePairs::Interleaved => 1,
    };
    let arguments = Arguments::new()
        .output(qkv)
        .input(rope.positions)
        .input(rope.slots)
        .input(rope.cos)
        .input(rope.sin)
        .optional_input(rope.q_norm)
        .optional_input(rope.k_norm)
        .output(k_cache)
        .output(v_cache)
        .size(heads)
        .size(kv_heads)
        .size(head_dim)
        .size(rope.rotary_dim)
        .size(block_size)
        .size(interleaved)
        .float(rope.epsilon);
    let grid = Grid::new([(heads + 2 * kv_heads).div_ceil(4), tokens, 1], 128);
    // SAFETY: lengths are checked; positions and slots were checked by the host against the table's
    // rows and the cache's blocks; all outputs are mutable borrows of different buffers.
    unsafe { device.launch(T::KERNELS.rope_and_cache, grid, arguments) }
}
