//! What is around the kernels: staging, read-back, recorded steps.

use half::bf16;

use super::super::buffer::DeviceBuffer;
use super::super::error::CudaError;
use super::super::graph::StepGraph;
use super::super::ops::embedding::{EmbeddingTable, embed};
use super::super::ops::linear::{self, Product, ProductOutput};
use super::super::ops::rows;
use super::super::staging::{Readbacks, StepUpload};
use super::{Check, Run};

pub(super) fn run<F: FnMut(&Check)>(run: &mut Run<'_, F>) -> Result<(), CudaError> {
    staging(run)?;
    readback(run)?;
    graph(run)
}

/// Parts arrive whole, at the same address in every step.
fn staging<F: FnMut(&Check)>(run: &mut Run<'_, F>) -> Result<(), CudaError> {
    let mut upload = StepUpload::new(run.device, 4096)?;
    let (mut found, mut expected) = (Vec::new(), Vec::new());
    for _ in 0..5 {
        let ids: Vec<u32> = (0..37).map(|_| run.random.below(1 << 20) as u32).collect();
        let scales: Vec<f32> = (0..11).map(|_| run.random.signed()).collect();
        upload.begin()?;
        let first = upload.push(&ids)?;
        let second = upload.push(&scales)?;
        upload.commit()?;
        let up_ids = run.device.download_vec(upload.part::<u32>(first))?;
        let up_scales = run.device.download_vec(upload.part::<f32>(second))?;
        found.extend(up_ids.into_iter().map(f64::from));
        found.extend(up_scales.into_iter().map(f64::from));
        expected.extend(ids.into_iter().map(f64::from));
        expected.extend(scales.into_iter().map(f64::from));
    }
    run.compare("step upload", "5 steps of 2 parts".to_owned(), &found, &expected, 0.0);
    upload.begin()?;
    let refused = upload.push(&[0_u32; 2000]).is_err();
    let refused = f64::from(u8::from(refused));
    run.compare("step upload limit", "8000 of 4096 bytes".to_owned(), &[refused], &[1.0], 0.0);
    Ok(())
}

/// Each result arrives, and its place serves the next one when it has been read.
fn readback<F: FnMut(&Check)>(run: &mut Run<'_, F>) -> Result<(), CudaError> {
    let readbacks = Readbacks::new(run.device, 2, 64)?;
    let mut found = Vec::new();
    for first in [0_u8, 3] {
        let mut results = Vec::new();
        for number in first..first + 3 {
            let buffer = run.device.upload_new("a test's input", &[number; 64])?;
            results.push(readbacks.push(buffer.as_slice())?);
        }
        for result in results {
            found.push(f64::from(result.wait()?[63]));
        }
    }
    let expected = [0.0, 1.0, 2.0, 3.0, 4.0, 5.0];
    run.compare("readback", "3 results at once, in 2 places".to_owned(), &found, &expected, 0.0);
    Ok(())
}

/// Buffers of a small chain of dependent kernels.
struct Chain {
    hidden: usize,
    tokens: DeviceBuffer<u32>,
    table: DeviceBuffer<bf16>,
    norm: DeviceBuffer<f32>,
    gate_up: DeviceBuffer<bf16>,
    down: DeviceBuffer<bf16>,
    residual: DeviceBuffer<f32>,
    normed: DeviceBuffer<bf16>,
    gated: DeviceBuffer<bf16>,
}

impl Chain {
    /// Embeds, then 6 times: norm, gated product, product onto the residual.
    fn enqueue<F>(&mut self, run: &Run<'_, F>) -> Result<(), CudaError> {
        let (device, hidden, m) = (run.device, self.hidden, self.tokens.len());
        let ffn = self.gate_up.len() / hidden / 2;
        let mut residual = self.residual.as_mut_slice();
        let (tokens, table) = (self.tokens.as_slice(), self.table.as_slice());
        let vocab = table.len() / hidden;
        embed(device, tokens, EmbeddingTable::bf16([vocab, hidden], table)?, None, &mut residual)?;
        for _ in 0..6 {
            let norm = self.norm.as_slice();
            let mut normed = self.normed.as_mut_slice();
            rows::add_rms_norm(device, &mut residual, None, norm, 1e-5, &mut normed)?;
            let gate_up = Product {
                x: self.normed.as_slice(),
                w: self.gate_up.as_slice(),
                bias: None,
                m,
                n: 2 * ffn,
                k: hidden,
            };
            let gated = ProductOutput::SiluGated(self.gated.as_mut_slice());
            linear::product(device, &gate_up, gated)?;
            let down = Product {
                x: self.gated.as_slice(),
                w: self.down.as_slice(),
                bias: None,
                m,
                n: hidden,
                k: ffn,
            };
            linear::product(device, &down, ProductOutput::AddTo(residual.reborrow()))?;
        }
        Ok(())
    }
}

/// A recorded step gives the bits of a plain one, again and again, on inputs changed in place.
fn graph<F: FnMut(&Check)>(run: &mut Run<'_, F>) -> Result<(), CudaError> {
    let (m, vocab) = (5, 300);
    let (hidden, ffn) = if run.skips(6 * 8 * 3 * 1024 * 2816) { (128, 256) } else { (1024, 2816) };
    let ids: Vec<u32> = (0..m).map(|_| run.random.below(vocab) as u32).collect();
    let mut chain = Chain {
        hidden,
        tokens: run.device.upload_new("a test's input", &ids)?,
        table: run.random_bf16(vocab * hidden, 1.0)?.0,
        norm: run.random_f32(hidden, 1.0, 0.2)?.0,
        gate_up: run.random_bf16(2 * ffn * hidden, 0.05)?.0,
        down: run.random_bf16(hidden * ffn, 0.05)?.0,
        residual: run.poisoned(m * hidden)?,
        normed: run.poisoned(m * hidden)?,
        gated: run.poisoned(m * ffn)?,
    };
    chain.enqueue(run)?;
    let recorded = StepGraph::record(run.device, m, || chain.enqueue(run))?;
    for round in 0..3 {
        let ids: Vec<u32> = (0..m).map(|_| run.random.below(vocab) as u32).collect();
        run.device.upload(&ids, &mut chain.tokens.as_mut_slice())?;
        chain.enqueue(run)?;
        let plain = run.values(&chain.residual)?;
        run.device.fill_bytes(&mut chain.residual.as_mut_slice(), 0xff)?;
        recorded.launch()?;
        let replayed = run.values(&chain.residual)?;
        let shape = format!("rows {m}, 19 kernels, round {round}");
        run.compare("graph replay", shape, &replayed, &plain, 0.0);
    }
    Ok(())
}
