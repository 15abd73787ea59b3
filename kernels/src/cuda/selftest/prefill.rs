//! Attention of prompt chunks against the reference, over shuffled block tables and cached prefixes.

use half::bf16;

use super::super::error::CudaError;
use super::super::ops::paged::PagedInput;
use super::super::ops::prefill::{PrefillInput, paged_prefill};
use super::super::ops::rows::HeadShape;
use super::attention::{RandomElement, random_cache};
use super::{Check, Run, reference, widen};
use crate::e4m3::E4m3;

/// Outputs and probabilities are rounded to bf16: each by up to 2^-9, of values up to one. Outputs are means of many
/// values, a fifth of one in size, and errors are counted against that.
const LIMIT: f64 = 1.6e-2;

/// One shape of prefill attention.
#[derive(Debug, Clone, Copy)]
struct Case {
    shape: HeadShape,
    /// Keys of each sequence, and how many of them are the chunk's.
    seqs: &'static [(usize, usize)],
    window: Option<u32>,
    softcap: Option<f32>,
}

const LLAMA: Case = Case {
    shape: HeadShape { heads: 8, kv_heads: 2, head_dim: 128, block_size: 16 },
    seqs: &[(1, 1), (77, 77), (200, 40), (64, 0), (129, 65)],
    window: None,
    softcap: None,
};

const CASES: [Case; 9] = [
    LLAMA,
    Case { window: Some(50), ..LLAMA },
    Case { softcap: Some(5.0), ..LLAMA },
    Case { shape: HeadShape { heads: 9, kv_heads: 3, head_dim: 64, block_size: 32 }, ..LLAMA },
    Case { shape: HeadShape { heads: 4, kv_heads: 2, head_dim: 256, block_size: 16 }, ..LLAMA },
    Case { shape: HeadShape { heads: 4, kv_heads: 4, head_dim: 96, block_size: 16 }, ..LLAMA },
    Case { shape: HeadShape { heads: 5, kv_heads: 1, head_dim: 80, block_size: 16 }, ..LLAMA },
    Case { shape: HeadShape { heads: 4, kv_heads: 2, head_dim: 64, block_size: 16 }, ..SHORT },
    Case { shape: HeadShape { heads: 4, kv_heads: 2, head_dim: 96, block_size: 16 }, ..SHORT },
];

const SHORT: Case = Case { seqs: &[(20, 20), (70, 9)], ..LLAMA };

pub(super) fn run<F: FnMut(&Check)>(run: &mut Run<'_, F>) -> Result<(), CudaError> {
    for case in CASES {
        let HeadShape { heads, kv_heads, head_dim, .. } = case.shape;
        let rows = |query_len: usize| (query_len * heads).next_multiple_of(128 * kv_heads);
        let pairs: usize = case.seqs.iter().map(|&(kv_len, query_len)| kv_len * rows(query_len)).sum();
        if run.skips(pairs * head_dim * 2) {
            continue;
        }
        prefill::<bf16, F>(run, case)?;
        prefill::<E4m3, F>(run, case)?;
    }
    Ok(())
}

fn prefill<T: RandomElement, F: FnMut(&Check)>(run: &mut Run<'_, F>, case: Case) -> Result<(), CudaError> {
    let HeadShape { heads, kv_heads, head_dim, block_size } = case.shape;
    let longest = case.seqs.iter().map(|&(kv_len, _)| kv_len).max().unwrap_or(0);
    let table_stride = longest.div_ceil(block_size) + 1;
    let blocks = case.seqs.len() * table_stride;
    let block_tables = run.random.permutation(blocks);
    let (mut query_starts, mut tokens) = (Vec::new(), 0);
    for &(_, query_len) in case.seqs {
        query_starts.push(tokens as u32);
        tokens += query_len;
    }
    let query_lens: Vec<u32> = case.seqs.iter().map(|&(_, query_len)| query_len as u32).collect();
    let kv_lens: Vec<u32> = case.seqs.iter().map(|&(kv_len, _)| kv_len as u32).collect();
    let columns = case.shape.qkv_columns();
    let (qkv, qkv_host) = run.random_bf16(tokens * columns, 1.0)?;
    let (k_cache, k) = random_cache::<T, F>(run, blocks * case.shape.block_elements())?;
    let (v_cache, v) = random_cache::<T, F>(run, blocks * case.shape.block_elements())?;
    let tables = run.device.upload_new("a test's input", &block_tables)?;
    let device_starts = run.device.upload_new("a test's input", &query_starts)?;
    let device_query_lens = run.device.upload_new("a test's input", &query_lens)?;
    let device_kv_lens = run.device.upload_new("a test's input", &kv_lens)?;
    let mut out = run.poisoned(tokens * heads * head_dim)?;
    let scale = 2.0 / (head_dim as f32).sqrt();
    let paged = PagedInput {
        qkv: qkv.as_slice(),
        k_cache: k_cache.as_slice(),
        v_cache: v_cache.as_slice(),
        block_tables: tables.as_slice(),
        table_stride,
        kv_lens: device_kv_lens.as_slice(),
        shape: case.shape,
        window: case.window,
        scale,
        softcap: case.softcap,
    };
    let input = PrefillInput {
        paged,
        query_starts: device_starts.as_slice(),
        query_lens: device_query_lens.as_slice(),
        longest_query: query_lens.iter().copied().max().unwrap_or(0) as usize,
    };
    paged_prefill(run.device, &input, &mut out.as_mut_slice())?;

    let qkv = widen(&qkv_host);
    let cache = reference::Cache { k: &k, v: &v, kv_heads, block_size, head_dim };
    let mut expected = Vec::with_capacity(tokens * heads * head_dim);
    let mut rows = qkv.chunks_exact(columns);
    for (seq, &(kv_len, query_len)) in case.seqs.iter().enumerate() {
        for end in kv_len - query_len + 1..=kv_len {
            let row = rows.next().unwrap_or_default();
            let first_key = case.window.map_or(0, |window| end.saturating_sub(window as usize));
            for head in 0..heads {
                let seen = reference::Seen {
                    blocks: &block_tables[seq * table_stride..][..table_stride],
                    keys: first_key..end,
                    kv_head: head / (heads / kv_heads),
                };
                let q = &row[head * head_dim..][..head_dim];
                let softcap = case.softcap.map(f64::from);
                expected.extend(reference::attend(q, &cache, &seen, f64::from(scale), softcap));
            }
        }
    }
    let shape = format!(
        "{} tokens {tokens} longest {longest} heads {heads}/{kv_heads} dim {head_dim} block {block_size} window {:?} cap {:?}",
        T::NAME,
        case.window,
        case.softcap
    );
    let out = run.values(&out)?;
    run.compare("paged_prefill", shape, &out, &expected, LIMIT);
    Ok(())
}
