//! The ends of a step, and weights made on the device.

use half::{bf16, f16};

use super::super::error::CudaError;
use super::super::ops::fill;
use super::super::ops::read::{read_bytes, read_bytes_outputs};
use super::super::ops::rows::PADDING_SLOT;
use super::super::ops::step::{self, ARGMAX_SCRATCH_PER_ROW, ArgmaxOutput, DecodeState};
use super::{Check, Run, widen};
use crate::feed::SAMPLED_FLAG;

pub(super) fn run<F: FnMut(&Check)>(run: &mut Run<'_, F>) -> Result<(), CudaError> {
    for (rows, vocab) in [(1, 8), (3, 1000), (9, 49_152), (2, 128_256), (5, 31)] {
        argmax(run, rows, vocab)?;
    }
    for count in [1, 300] {
        step_inputs(run, count)?;
        step_advance(run, count)?;
    }
    fills(run)?;
    reads(run)
}

fn argmax<F: FnMut(&Check)>(run: &mut Run<'_, F>, rows: usize, vocab: usize) -> Result<(), CudaError> {
    let mut host: Vec<f32> = (0..rows * vocab).map(|_| run.random.signed() * 8.0).collect();
    // A tie for the highest in every row: the lower index must win.
    for row in host.chunks_exact_mut(vocab) {
        let (one, other) = (run.random.below(vocab), run.random.below(vocab));
        row[one] = 9.0;
        row[other] = 9.0;
    }
    let logits = run.device.upload_new("a test's input", &host)?;
    let mut tokens = run.poisoned::<u32>(rows)?;
    let mut logprobs = run.poisoned::<f32>(rows)?;
    let mut scratch = run.poisoned::<f32>(rows * ARGMAX_SCRATCH_PER_ROW)?;
    let mut out = ArgmaxOutput {
        tokens: tokens.as_mut_slice(),
        logprobs: logprobs.as_mut_slice(),
        scratch: scratch.as_mut_slice(),
    };
    step::argmax(run.device, logits.as_slice(), &mut out)?;
    let (mut expected_tokens, mut expected_logprobs) = (Vec::new(), Vec::new());
    for row in widen(&host).chunks_exact(vocab) {
        let mut best = 0;
        for (index, &value) in row.iter().enumerate() {
            if value > row[best] {
                best = index;
            }
        }
        let total: f64 = row.iter().map(|value| (value - row[best]).exp()).sum();
        expected_tokens.push(best as f64);
        expected_logprobs.push(-total.ln());
    }
    let shape = format!("rows {rows} vocab {vocab}");
    let tokens = run.values(&tokens)?;
    run.compare("argmax token", shape.clone(), &tokens, &expected_tokens, 0.0);
    let logprobs = run.values(&logprobs)?;
    run.compare("argmax logprob", shape, &logprobs, &expected_logprobs, 2e-5);
    Ok(())
}

fn step_inputs<F: FnMut(&Check)>(run: &mut Run<'_, F>, count: usize) -> Result<(), CudaError> {
    let sampled: Vec<u32> = (0..count).map(|_| run.random.below(100_000) as u32).collect();
    let mut source = Vec::new();
    let mut expected = Vec::new();
    for _ in 0..count {
        let (row, id) = (run.random.below(count), run.random.below(100_000) as u32);
        if id % 2 == 0 {
            source.push(id);
            expected.push(f64::from(id));
        } else {
            source.push(SAMPLED_FLAG + row as u32);
            expected.push(f64::from(sampled[row]));
        }
    }
    expected.extend(sampled.iter().map(|&token| f64::from(token)));
    let source = run.device.upload_new("a test's input", &source)?;
    let sampled = run.device.upload_new("a test's input", &sampled)?;
    let mut tokens = run.poisoned::<u32>(count)?;
    let mut previous = run.poisoned::<u32>(count)?;
    let (mut out, mut kept) = (tokens.as_mut_slice(), previous.as_mut_slice());
    step::step_inputs(run.device, source.as_slice(), sampled.as_slice(), &mut out, &mut kept)?;
    let found = [run.values(&tokens)?, run.values(&previous)?].concat();
    run.compare("step_inputs", format!("tokens {count}"), &found, &expected, 0.0);
    Ok(())
}

fn step_advance<F: FnMut(&Check)>(run: &mut Run<'_, F>, count: usize) -> Result<(), CudaError> {
    let (block_size, table_stride) = (16, 5);
    let tables = run.random.permutation(count * table_stride);
    let sampled: Vec<u32> = (0..count).map(|_| run.random.below(50_000) as u32).collect();
    let positions: Vec<u32> =
        (0..count).map(|_| run.random.below(block_size * table_stride - 1) as u32).collect();
    // Every seventh row is there only to fill up the batch.
    let kv_lens: Vec<u32> =
        positions.iter().zip(0..).map(|(p, i)| if i % 7 == 3 { 0 } else { p + 1 }).collect();
    let tokens = vec![7_u32; count];
    let slots = vec![PADDING_SLOT; count];
    let device = run.device;
    let upload = |values: &[u32]| device.upload_new("a test's input", values);
    let (device_sampled, device_tables) = (upload(&sampled)?, upload(&tables)?);
    let mut state = [upload(&tokens)?, upload(&positions)?, upload(&kv_lens)?, upload(&slots)?];
    let [token, position, kv_len, slot] = &mut state;
    let mut out = DecodeState {
        tokens: token.as_mut_slice(),
        positions: position.as_mut_slice(),
        kv_lens: kv_len.as_mut_slice(),
        slots: slot.as_mut_slice(),
    };
    let tables_slice = device_tables.as_slice();
    step::step_advance(device, device_sampled.as_slice(), &mut out, tables_slice, block_size)?;
    let mut expected = [const { Vec::new() }; 4];
    for row in 0..count {
        if kv_lens[row] == 0 {
            for (list, value) in expected.iter_mut().zip([tokens[row], positions[row], 0, slots[row]]) {
                list.push(f64::from(value));
            }
            continue;
        }
        let position = positions[row] as usize + 1;
        let block = tables[row * table_stride + position / block_size] as usize;
        let slot = block * block_size + position % block_size;
        let values = [sampled[row] as usize, position, kv_lens[row] as usize + 1, slot];
        for (list, value) in expected.iter_mut().zip(values) {
            list.push(value as f64);
        }
    }
    let mut out = Vec::new();
    for buffer in &state {
        out.extend(run.values(buffer)?);
    }
    run.compare("step_advance", format!("sequences {count}"), &out, &expected.concat(), 0.0);
    Ok(())
}

/// Made weights fill their range evenly and come out the same from the same seed.
fn fills<F: FnMut(&Check)>(run: &mut Run<'_, F>) -> Result<(), CudaError> {
    let (device, len) = (run.device, 100_000);
    let shape = format!("elements {len}");
    let mut first = run.poisoned::<bf16>(len)?;
    fill::random_bf16(device, &mut first.as_mut_slice(), 11, 0.25)?;
    let first = run.values(&first)?;
    let mut half = run.poisoned::<bf16>(len / 2)?;
    fill::random_bf16(device, &mut half.as_mut_slice(), 11, 0.25)?;
    let half = run.values(&half)?;
    run.compare("fill_random_bf16 prefix", shape.clone(), &half, &first[..len / 2], 0.0);
    spread(run, "fill_random_bf16 spread", &first, -0.25, 0.25);

    let mut buffer = run.poisoned::<f32>(len)?;
    fill::random_f32(device, &mut buffer.as_mut_slice(), 12, [0.5, 1.5])?;
    let values = run.values(&buffer)?;
    spread(run, "fill_random_f32 spread", &values, 0.5, 1.5);

    let mut buffer = run.poisoned::<f16>(len)?;
    fill::random_f16(device, &mut buffer.as_mut_slice(), 13, [0.5, 1.5])?;
    let values: Vec<f64> =
        device.download_vec(buffer.as_slice())?.iter().map(|value| value.to_f64()).collect();
    spread(run, "fill_random_f16 spread", &values, 0.5, 1.5);

    let mut buffer = run.poisoned::<u8>(len)?;
    fill::random_bytes(device, &mut buffer.as_mut_slice(), 14)?;
    let values: Vec<f64> =
        device.download_vec(buffer.as_slice())?.iter().map(|&byte| f64::from(byte)).collect();
    spread(run, "fill_random_bytes spread", &values, 0.0, 255.0);
    Ok(())
}

/// Every word is read once, whatever the number of blocks.
fn reads<F: FnMut(&Check)>(run: &mut Run<'_, F>) -> Result<(), CudaError> {
    let bytes = 16 * 5003;
    let mut data = run.poisoned::<u8>(bytes)?;
    fill::random_bytes(run.device, &mut data.as_mut_slice(), 15)?;
    let host = run.device.download_vec(data.as_slice())?;
    let words = host.chunks_exact(4).map(|word| u32::from_le_bytes([word[0], word[1], word[2], word[3]]));
    let expected = words.fold(0, |mixed, word| mixed ^ word);
    for blocks in [1, 5] {
        let mut out = run.poisoned::<u32>(read_bytes_outputs(blocks))?;
        read_bytes(run.device, blocks, data.as_slice(), &mut out.as_mut_slice())?;
        let found = run.device.download_vec(out.as_slice())?.into_iter().fold(0, |mixed, word| mixed ^ word);
        let shape = format!("bytes {bytes} blocks {blocks}");
        run.compare("read_bytes", shape, &[f64::from(found)], &[f64::from(expected)], 0.0);
    }
    Ok(())
}

/// Mean and mean square of an even spread over `low..high`, and its ends.
fn spread<F: FnMut(&Check)>(run: &mut Run<'_, F>, name: &str, values: &[f64], low: f64, high: f64) {
    let len = values.len() as f64;
    let middle = f64::midpoint(low, high);
    let width = high - low;
    let mean = values.iter().sum::<f64>() / len;
    let variance = values.iter().map(|x| (x - middle) * (x - middle)).sum::<f64>() / len;
    let lowest = values.iter().copied().fold(f64::INFINITY, f64::min);
    let highest = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    // Shifted and scaled to (-1, 1): mean 0, mean square 1/3, ends -1 and 1.
    let scale = 2.0 / width;
    let found = [
        1.0 + (mean - middle) * scale,
        variance * scale * scale,
        (lowest - middle) * scale,
        (highest - middle) * scale,
    ];
    let shape = format!("elements {}", values.len());
    run.compare(name, shape, &found, &[1.0, 1.0 / 3.0, -1.0, 1.0], 2e-2);
}
