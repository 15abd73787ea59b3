//! Products of a step with every weight of a layer and with the head: in bf16, and quantised when they are loaded.

use half::bf16;

use super::super::super::buffer::DeviceBuffer;
use super::super::super::error::CudaError;
use super::super::super::ops::format::QuantisedFormat;
use super::super::super::ops::linear::{self, MAX_SKINNY_ROWS, Product, ProductOutput, SkinnyVariant};
use super::super::super::ops::packed::{QuantisedWeight, RowOrder};
use super::super::super::ops::quantised::{self, QuantisedProduct};
use super::super::{BenchRun, Label, Measurement};
use super::random;

/// Formats that weights are quantised to when they are loaded, and their names in the table.
const FORMATS: [(QuantisedFormat, &str); 3] = [
    (QuantisedFormat::Q8Row, "linear int8"),
    (QuantisedFormat::F8Row, "linear fp8"),
    (QuantisedFormat::Q4Group128, "linear int4"),
];

/// A weight of the model.
#[derive(Debug, Clone, Copy)]
struct Role {
    name: &'static str,
    n: usize,
    k: usize,
    is_gated: bool,
}

pub(super) fn run<F: FnMut(&Measurement)>(run: &mut BenchRun<'_, F>) -> Result<(), CudaError> {
    let sizes = run.sizes;
    let role = |name, n, k| Role { name, n, k, is_gated: false };
    let query_columns = sizes.heads.heads * sizes.heads.head_dim;
    for role in [
        role("qkv", sizes.heads.qkv_columns(), sizes.hidden),
        role("o", sizes.hidden, query_columns),
        Role { is_gated: true, ..role("gate_up", 2 * sizes.ffn, sizes.hidden) },
        role("down", sizes.hidden, sizes.ffn),
        role("lm_head", sizes.vocab, sizes.hidden),
    ] {
        let Role { n, k, .. } = role;
        let sets = sizes.num_sets(2 * n * k);
        let weights = (0..sets).map(|set| random(run, n * k, set as u64)).collect::<Result<Vec<_>, _>>()?;
        let is_head = n == sizes.vocab;
        for &m in sizes.decode_rows {
            plain(run, role, &weights, m)?;
        }
        if !is_head {
            plain(run, role, &weights, sizes.prompt_rows)?;
        }
        // One of the weights is enough to be quantised as often as there are sets.
        let source = &weights[0];
        for (format, name) in FORMATS {
            packed(run, role, (format, name), source)?;
        }
    }
    Ok(())
}

/// What a product with this weight must move, with so many bytes of weights.
fn label(name: &str, role: Role, m: usize, weight_bytes: usize) -> Label {
    let Role { name: role_name, n, k, is_gated } = role;
    let columns = if is_gated { n / 2 } else { n };
    Label {
        name: name.to_owned(),
        shape: format!("{role_name}{} {m} x {n} x {k}", if is_gated { " silu" } else { "" }),
        bytes: weight_bytes + 2 * (m * k + m * columns),
        operations: 2 * m * n * k,
    }
}

/// A product in bf16 as a step asks for it: by our own kernel, and by cuBLASLt, which cannot gate.
fn plain<F: FnMut(&Measurement)>(
    run: &mut BenchRun<'_, F>,
    role: Role,
    weights: &[DeviceBuffer<bf16>],
    m: usize,
) -> Result<(), CudaError> {
    let device = run.device;
    let Role { n, k, is_gated, .. } = role;
    let x = random(run, m * k, 99)?;
    let mut out = device.alloc::<bf16>("a bench's output", m * n)?;
    let of = |set: usize| Product { x: x.as_slice(), w: weights[set].as_slice(), bias: None, m, n, k };
    let is_skinny = m <= MAX_SKINNY_ROWS;
    let variant = SkinnyVariant::for_device(device, m);
    let name = if is_skinny { variant.name() } else { "linear_tile_bf16" };
    run.measure(label(name, role, m, 2 * n * k), weights.len(), |set| {
        let all = out.as_mut_slice();
        let out = if is_gated {
            ProductOutput::SiluGated(all.slice(0..m * n / 2))
        } else {
            ProductOutput::Bf16(all)
        };
        if is_skinny {
            linear::skinny(device, variant, &of(set), &out)
        } else {
            linear::tiles(device, &of(set), &out)
        }
    })?;
    if let Some(blas) = device.blas() {
        let ungated = Role { is_gated: false, ..role };
        run.measure(label("cublaslt", ungated, m, 2 * n * k), weights.len(), |set| {
            let w = weights[set].as_slice();
            blas.product(x.as_slice(), w, &mut out.as_mut_slice(), [m, n, k])
        })?;
    }
    Ok(())
}

/// Products with a quantised weight, for every number of rows.
fn packed<F: FnMut(&Measurement)>(
    run: &mut BenchRun<'_, F>,
    role: Role,
    (format, name): (QuantisedFormat, &str),
    source: &DeviceBuffer<bf16>,
) -> Result<(), CudaError> {
    let (device, sizes) = (run.device, run.sizes);
    let Role { n, k, is_gated, .. } = role;
    let weight_bytes = format.size_bytes([n, k]);
    let order = if is_gated { RowOrder::Gated } else { RowOrder::Plain };
    let weights = (0..sizes.num_sets(weight_bytes))
        .map(|_| QuantisedWeight::quantise(device, format, [n, k], order, source.as_slice()))
        .collect::<Result<Vec<_>, _>>()?;
    let prompt_rows = (n != sizes.vocab).then_some(sizes.prompt_rows);
    for m in sizes.decode_rows.iter().copied().chain(prompt_rows) {
        let x = random(run, m * k, 98)?;
        let columns = if is_gated { n / 2 } else { n };
        let mut out = device.alloc::<bf16>("a bench's output", m * columns)?;
        run.measure(label(name, role, m, weight_bytes), weights.len(), |set| {
            let out = out.as_mut_slice();
            let out = if is_gated { ProductOutput::SiluGated(out) } else { ProductOutput::Bf16(out) };
            let product = QuantisedProduct { x: x.as_slice(), w: &weights[set], bias: None, m };
            quantised::product(device, &product, &out)
        })?;
    }
    Ok(())
}
