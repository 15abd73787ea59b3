//! Attention over the paged cache: decodes with every number of splits that could do, and whole prompts.

use half::bf16;

use super::super::super::buffer::DeviceBuffer;
use super::super::super::error::CudaError;
use super::super::super::ops::attention::{self, DecodeInput, DecodeScratch};
use super::super::super::ops::cache_element::CacheElement;
use super::super::super::ops::paged::PagedInput;
use super::super::super::ops::prefill::{PrefillInput, paged_prefill};
use super::super::{BenchRun, Label, Measurement};
use super::random;
use crate::e4m3::E4m3;

/// Keys of a split that are tried.
const SPLITS: [usize; 5] = [64, 128, 256, 512, 1024];
/// Most splits of a sequence: beyond it, merging costs more than it brings.
const MAX_SPLITS: usize = 64;
/// Most sets of caches, which are large.
const MAX_SETS: usize = 8;

/// An element that the bench can fill a cache with.
trait BenchElement: CacheElement {
    /// In the kernels' names.
    const NAME: &'static str;

    fn cache<F>(run: &BenchRun<'_, F>, len: usize, seed: u64) -> Result<DeviceBuffer<Self>, CudaError>;
}

impl BenchElement for bf16 {
    const NAME: &'static str = "bf16";

    fn cache<F>(run: &BenchRun<'_, F>, len: usize, seed: u64) -> Result<DeviceBuffer<Self>, CudaError> {
        random(run, len, seed)
    }
}

impl BenchElement for E4m3 {
    const NAME: &'static str = "fp8";

    fn cache<F>(run: &BenchRun<'_, F>, len: usize, _seed: u64) -> Result<DeviceBuffer<Self>, CudaError> {
        // What is in it does not matter for time, as long as it is a number.
        run.device.alloc_zeros("a bench's input", len)
    }
}

/// A paged cache with its tables, and what does not differ from set to set.
struct Pages<T: CacheElement> {
    caches: Vec<(DeviceBuffer<T>, DeviceBuffer<T>)>,
    tables: DeviceBuffer<u32>,
    table_stride: usize,
    kv_lens: DeviceBuffer<u32>,
    qkv: DeviceBuffer<bf16>,
}

impl<T: BenchElement> Pages<T> {
    /// For `seqs` sequences of `context` tokens, of which each computes `queries`.
    fn new<F>(run: &BenchRun<'_, F>, seqs: usize, context: usize, queries: usize) -> Result<Self, CudaError> {
        let (device, heads) = (run.device, run.sizes.heads);
        let table_stride = context.div_ceil(heads.block_size);
        let blocks = seqs * table_stride;
        let len = blocks * heads.block_elements();
        let sets = run.sizes.num_sets(2 * len * size_of::<T>()).min(MAX_SETS);
        let pair = |set: usize| {
            let seed = 20 + 2 * set as u64;
            Ok((T::cache(run, len, seed)?, T::cache(run, len, seed + 1)?))
        };
        let caches = (0..sets).map(pair).collect::<Result<Vec<_>, CudaError>>()?;
        // Blocks far apart, as in a pool that has been used for a while.
        let tables: Vec<u32> = (0..blocks).map(|index| (index * 7919 % blocks) as u32).collect();
        Ok(Self {
            caches,
            tables: device.upload_new("a bench's input", &tables)?,
            table_stride,
            kv_lens: device.upload_new("a bench's input", &vec![context as u32; seqs])?,
            qkv: random(run, seqs * queries * heads.qkv_columns(), 3)?,
        })
    }

    fn input<F>(&self, run: &BenchRun<'_, F>, set: usize) -> PagedInput<'_, T> {
        let (k_cache, v_cache) = &self.caches[set];
        PagedInput {
            qkv: self.qkv.as_slice(),
            k_cache: k_cache.as_slice(),
            v_cache: v_cache.as_slice(),
            block_tables: self.tables.as_slice(),
            table_stride: self.table_stride,
            kv_lens: self.kv_lens.as_slice(),
            shape: run.sizes.heads,
            window: None,
            scale: 0.088,
            softcap: None,
        }
    }

    /// Bytes of keys and values of one set.
    fn bytes(&self) -> usize {
        self.caches.first().map_or(0, |(keys, _)| 2 * keys.as_slice().len() * size_of::<T>())
    }
}

pub(super) fn run<F: FnMut(&Measurement)>(run: &mut BenchRun<'_, F>) -> Result<(), CudaError> {
    for &(seqs, context) in run.sizes.contexts {
        decode::<bf16, F>(run, seqs, context)?;
        decode::<E4m3, F>(run, seqs, context)?;
    }
    for &tokens in run.sizes.prompts {
        prefill::<bf16, F>(run, tokens)?;
        prefill::<E4m3, F>(run, tokens)?;
    }
    Ok(())
}

fn decode<T: BenchElement, F: FnMut(&Measurement)>(
    run: &mut BenchRun<'_, F>,
    seqs: usize,
    context: usize,
) -> Result<(), CudaError> {
    let (device, heads) = (run.device, run.sizes.heads);
    let pages = Pages::<T>::new(run, seqs, context, 1)?;
    let inputs: Vec<PagedInput<'_, T>> = (0..pages.caches.len()).map(|set| pages.input(run, set)).collect();
    let columns = heads.heads * heads.head_dim;
    let mut out = random(run, seqs * columns, 4)?;
    for split in SPLITS {
        let max_splits = context.div_ceil(split);
        if max_splits > MAX_SPLITS || split > context {
            continue;
        }
        let split_keys = device.upload_new("a bench's input", &[split as u32])?;
        let sizes = [heads.heads, heads.head_dim];
        let mut scratch = DecodeScratch::new(device, sizes, seqs, seqs * max_splits)?;
        let label = Label {
            name: format!("paged_decode_{}_d{}", T::NAME, heads.head_dim),
            shape: format!("seqs {seqs} context {context} split {split}"),
            bytes: pages.bytes(),
            operations: 4 * columns * seqs * context,
        };
        run.measure(label, inputs.len(), |set| {
            let split_keys = split_keys.as_slice();
            let input = DecodeInput { paged: inputs[set], query_rows: None, split_keys, max_splits };
            attention::paged_decode(device, &input, &mut scratch, &mut out.as_mut_slice())
        })?;
    }
    Ok(())
}

fn prefill<T: BenchElement, F: FnMut(&Measurement)>(
    run: &mut BenchRun<'_, F>,
    tokens: usize,
) -> Result<(), CudaError> {
    let (device, heads) = (run.device, run.sizes.heads);
    let pages = Pages::<T>::new(run, 1, tokens, tokens)?;
    let inputs: Vec<PagedInput<'_, T>> = (0..pages.caches.len()).map(|set| pages.input(run, set)).collect();
    let columns = heads.heads * heads.head_dim;
    let mut out = random(run, tokens * columns, 4)?;
    let query_starts = device.upload_new("a bench's input", &[0_u32])?;
    let query_lens = device.upload_new("a bench's input", &[tokens as u32])?;
    let label = Label {
        name: format!("paged_prefill_{}_d{}", T::NAME, heads.head_dim),
        shape: format!("one prompt of {tokens}"),
        bytes: pages.bytes() + 2 * 2 * tokens * columns,
        // Token t sees t keys, each for a product with it and one with its value.
        operations: 4 * columns * (tokens * (tokens + 1) / 2),
    };
    run.measure(label, inputs.len(), |set| {
        let input = PrefillInput {
            paged: inputs[set],
            query_starts: query_starts.as_slice(),
            query_lens: query_lens.as_slice(),
            longest_query: tokens,
        };
        paged_prefill(device, &input, &mut out.as_mut_slice())
    })
}
