//! Embedding from tables of every type, against the CPU's reading of the same bytes.

use half::{bf16, f16};

use super::super::error::CudaError;
use super::super::ops::embedding::{EmbeddingTable, embed};
use super::{Check, Random, Run};
use crate::weight::{WeightType, dequantise};

/// One product in f32.
const LIMIT: f64 = 2e-7;

pub(super) fn run<F: FnMut(&Check)>(run: &mut Run<'_, F>) -> Result<(), CudaError> {
    for weight_type in WeightType::ALL {
        for (tokens, vocab, hidden) in [(1, 3, 256), (33, 200, 1536), (7, 50, 4096)] {
            tokens_of(run, weight_type, tokens, [vocab, hidden])?;
        }
    }
    tokens_of(run, WeightType::BF16, 33, [1000, 1544])?;
    tokens_of(run, WeightType::Q8_0, 5, [100, 576])
}

fn tokens_of<F: FnMut(&Check)>(
    run: &mut Run<'_, F>,
    weight_type: WeightType,
    tokens: usize,
    [vocab, hidden]: [usize; 2],
) -> Result<(), CudaError> {
    let ids: Vec<u32> = (0..tokens).map(|_| run.random.below(vocab) as u32).collect();
    let bytes = random_weight(&mut run.random, weight_type, vocab * hidden);
    let table = run.device.upload_new("a test's input", &bytes)?;
    let device_ids = run.device.upload_new("a test's input", &ids)?;
    let mut residual = run.poisoned(tokens * hidden)?;
    let scale = 1.5;
    embed(
        run.device,
        device_ids.as_slice(),
        EmbeddingTable::new(weight_type, [vocab, hidden], table.as_slice())?,
        Some(scale),
        &mut residual.as_mut_slice(),
    )?;
    let row_bytes = bytes.len() / vocab;
    let mut expected = vec![0.0; tokens * hidden];
    let mut row = vec![0.0; hidden];
    for (expected, &id) in expected.chunks_exact_mut(hidden).zip(&ids) {
        let written = dequantise(weight_type, &bytes[id as usize * row_bytes..][..row_bytes], &mut row);
        debug_assert!(written.is_ok(), "the bytes were made for these shapes");
        for (expected, value) in expected.iter_mut().zip(&row) {
            *expected = f64::from(*value) * f64::from(scale);
        }
    }
    let out = run.values(&residual)?;
    let shape = format!("{weight_type} tokens {tokens} vocab {vocab} hidden {hidden}");
    run.compare("embed", shape, &out, &expected, LIMIT);
    Ok(())
}

/// `len` random numbers of about unit size, in a file's bytes.
pub(super) fn random_weight(random: &mut Random, weight_type: WeightType, len: usize) -> Vec<u8> {
    let numbers = |random: &mut Random| (0..len).map(|_| random.signed()).collect::<Vec<f32>>();
    match weight_type {
        WeightType::F32 => return numbers(random).into_iter().flat_map(f32::to_le_bytes).collect(),
        WeightType::F16 => {
            return numbers(random).into_iter().flat_map(|x| f16::from_f32(x).to_le_bytes()).collect();
        }
        WeightType::BF16 => {
            return numbers(random).into_iter().flat_map(|x| bf16::from_f32(x).to_le_bytes()).collect();
        }
        WeightType::Q4_0
        | WeightType::Q4_1
        | WeightType::Q5_0
        | WeightType::Q5_1
        | WeightType::Q8_0
        | WeightType::Q2K
        | WeightType::Q3K
        | WeightType::Q4K
        | WeightType::Q5K
        | WeightType::Q6K => {}
    }
    let mut bytes: Vec<u8> = Vec::new();
    for _ in 0..len / weight_type.block_len() {
        let start = bytes.len();
        bytes.extend((0..weight_type.block_bytes()).map(|_| random.next() as u8));
        // Any bits are codes and integer scales, but the halves must be numbers of a fitting size.
        for (place, size) in half_places(weight_type) {
            let half = f16::from_f32((1.0 + 0.5 * random.signed()) * size);
            bytes[start + place..start + place + 2].copy_from_slice(&half.to_le_bytes());
        }
    }
    bytes
}

/// Where a block's scale and minimum stand, and of what size they make its numbers about 1.
fn half_places(weight_type: WeightType) -> Vec<(usize, f32)> {
    match weight_type {
        WeightType::F32 | WeightType::F16 | WeightType::BF16 => Vec::new(),
        WeightType::Q4_0 => vec![(0, 0.12)],
        WeightType::Q4_1 => vec![(0, 0.12), (2, -1.0)],
        WeightType::Q5_0 => vec![(0, 0.06)],
        WeightType::Q5_1 => vec![(0, 0.06), (2, -1.0)],
        WeightType::Q8_0 => vec![(0, 0.008)],
        WeightType::Q2K => vec![(80, 0.06), (82, 0.06)],
        WeightType::Q3K => vec![(108, 0.015)],
        WeightType::Q4K => vec![(0, 0.003), (2, 0.03)],
        WeightType::Q5K => vec![(0, 0.0015), (2, 0.03)],
        WeightType::Q6K => vec![(208, 0.000_5)],
    }
}
