//! Attention against the reference, over shuffled block tables and ragged lengths.

use half::bf16;

use super::super::buffer::DeviceBuffer;
use super::super::error::CudaError;
use super::super::ops::attention::{self, DecodeInput, DecodeScratch, SPLIT_UNIT_KEYS};
use super::super::ops::cache_element::CacheElement;
use super::super::ops::paged::PagedInput;
use super::super::ops::rows::HeadShape;
use super::{Check, Random, Run, ToF64, reference, widen};
use crate::e4m3::E4m3;

/// Outputs in bf16; probabilities may be rounded to bf16 on the way.
const LIMIT: f64 = 8e-3;

/// One shape of decode attention.
#[derive(Debug, Clone, Copy)]
struct Case {
    shape: HeadShape,
    kv_lens: &'static [usize],
    split_keys: usize,
    window: Option<u32>,
    softcap: Option<f32>,
    /// Whether queries stand in the batch in another order than the sequences.
    shuffled_rows: bool,
}

const LLAMA: Case = Case {
    shape: HeadShape { heads: 32, kv_heads: 8, head_dim: 128, block_size: 16 },
    kv_lens: &[1, 15, 16, 17, 63, 64, 65, 300, 1024],
    split_keys: 4 * SPLIT_UNIT_KEYS,
    window: None,
    softcap: None,
    shuffled_rows: false,
};

const CASES: [Case; 11] = [
    LLAMA,
    Case { split_keys: SPLIT_UNIT_KEYS, shuffled_rows: true, ..LLAMA },
    Case { kv_lens: &[4096], split_keys: 2 * SPLIT_UNIT_KEYS, ..LLAMA },
    Case { kv_lens: &[0, 77, 0, 500], ..LLAMA },
    Case { window: Some(100), ..LLAMA },
    Case { softcap: Some(5.0), ..LLAMA },
    Case { shape: HeadShape { heads: 9, kv_heads: 3, head_dim: 64, block_size: 16 }, ..LLAMA },
    Case { shape: HeadShape { heads: 20, kv_heads: 2, head_dim: 128, block_size: 32 }, ..LLAMA },
    Case { shape: HeadShape { heads: 8, kv_heads: 4, head_dim: 256, block_size: 64 }, ..LLAMA },
    Case { shape: HeadShape { heads: 6, kv_heads: 6, head_dim: 96, block_size: 16 }, ..LLAMA },
    Case { shape: HeadShape { heads: 6, kv_heads: 2, head_dim: 80, block_size: 16 }, ..LLAMA },
];

pub(super) fn run<F: FnMut(&Check)>(run: &mut Run<'_, F>) -> Result<(), CudaError> {
    for case in CASES {
        let HeadShape { heads, kv_heads, head_dim, .. } = case.shape;
        let rows = heads.next_multiple_of(16 * kv_heads);
        if run.skips(case.kv_lens.iter().sum::<usize>() * rows * head_dim * 2) {
            continue;
        }
        decode::<bf16, F>(run, case)?;
        decode::<E4m3, F>(run, case)?;
    }
    Ok(())
}

/// An element of a cache that can be drawn at random.
pub(super) trait RandomElement: CacheElement + ToF64 {
    /// What a test calls it.
    const NAME: &'static str;
    /// A number of about unit size.
    fn random(random: &mut Random) -> Self;
}

impl RandomElement for bf16 {
    const NAME: &'static str = "bf16";
    fn random(random: &mut Random) -> Self {
        Self::from_f32(random.signed())
    }
}

impl RandomElement for E4m3 {
    const NAME: &'static str = "fp8";
    fn random(random: &mut Random) -> Self {
        // Any code up to 1.375, of both signs.
        Self((random.below(60) | random.below(2) << 7) as u8)
    }
}

/// A cache of random numbers, and the numbers.
pub(super) fn random_cache<T: RandomElement, F>(
    run: &mut Run<'_, F>,
    len: usize,
) -> Result<(DeviceBuffer<T>, Vec<f64>), CudaError> {
    let host: Vec<T> = (0..len).map(|_| T::random(&mut run.random)).collect();
    Ok((run.device.upload_new("a test's input", &host)?, widen(&host)))
}

fn decode<T: RandomElement, F: FnMut(&Check)>(run: &mut Run<'_, F>, case: Case) -> Result<(), CudaError> {
    let HeadShape { heads, kv_heads, head_dim, block_size } = case.shape;
    let seqs = case.kv_lens.len();
    let longest = case.kv_lens.iter().copied().max().unwrap_or(0);
    let table_stride = longest.div_ceil(block_size) + 1;
    let blocks = seqs * table_stride;
    let block_tables = run.random.permutation(blocks);
    let kv_lens: Vec<u32> = case.kv_lens.iter().map(|&len| len as u32).collect();
    let query_rows = run.random.permutation(seqs);
    let columns = case.shape.qkv_columns();
    let (qkv, qkv_host) = run.random_bf16(seqs * columns, 1.0)?;
    let (k_cache, k) = random_cache::<T, F>(run, blocks * case.shape.block_elements())?;
    let (v_cache, v) = random_cache::<T, F>(run, blocks * case.shape.block_elements())?;
    let tables = run.device.upload_new("a test's input", &block_tables)?;
    let lens = run.device.upload_new("a test's input", &kv_lens)?;
    let rows = run.device.upload_new("a test's input", &query_rows)?;
    let split_keys = run.device.upload_new("a test's input", &[case.split_keys as u32])?;
    let max_splits = longest.div_ceil(case.split_keys).max(1);
    let mut scratch = DecodeScratch::new(run.device, [heads, head_dim], seqs, seqs * max_splits)?;
    let mut out = run.poisoned(seqs * heads * head_dim)?;
    let scale = 2.0 / (head_dim as f32).sqrt();
    let paged = PagedInput {
        qkv: qkv.as_slice(),
        k_cache: k_cache.as_slice(),
        v_cache: v_cache.as_slice(),
        block_tables: tables.as_slice(),
        table_stride,
        kv_lens: lens.as_slice(),
        shape: case.shape,
        window: case.window,
        scale,
        softcap: case.softcap,
    };
    let input = DecodeInput {
        paged,
        query_rows: case.shuffled_rows.then(|| rows.as_slice()),
        split_keys: split_keys.as_slice(),
        max_splits,
    };
    attention::paged_decode(run.device, &input, &mut scratch, &mut out.as_mut_slice())?;
    let first = run.values(&out)?;
    // Once more over the same scratch: its counters must have been left at zero.
    run.device.fill_bytes(&mut out.as_mut_slice(), 0xff)?;
    attention::paged_decode(run.device, &input, &mut scratch, &mut out.as_mut_slice())?;
    let second = run.values(&out)?;

    let qkv = widen(&qkv_host);
    let cache = reference::Cache { k: &k, v: &v, kv_heads, block_size, head_dim };
    let mut expected = vec![0.0; seqs * heads * head_dim];
    for (seq, &kv_len) in case.kv_lens.iter().enumerate() {
        let row = if case.shuffled_rows { query_rows[seq] as usize } else { seq };
        if kv_len == 0 {
            continue;
        }
        let first_key = case.window.map_or(0, |window| kv_len.saturating_sub(window as usize));
        for head in 0..heads {
            let q = &qkv[row * columns + head * head_dim..][..head_dim];
            let seen = reference::Seen {
                blocks: &block_tables[seq * table_stride..][..table_stride],
                keys: first_key..kv_len,
                kv_head: head / (heads / kv_heads),
            };
            let softcap = case.softcap.map(f64::from);
            let result = reference::attend(q, &cache, &seen, f64::from(scale), softcap);
            expected[(row * heads + head) * head_dim..][..head_dim].copy_from_slice(&result);
        }
    }
    let shape = format!(
        "{} seqs {seqs} longest {longest} heads {heads}/{kv_heads} dim {head_dim} block {block_size} split {} window {:?} cap {:?}",
        T::NAME,
        case.split_keys,
        case.window,
        case.softcap
    );
    run.compare("paged_decode", shape.clone(), &first, &expected, LIMIT);
    run.compare("paged_decode again", shape, &second, &first, 0.0);
    Ok(())
}
