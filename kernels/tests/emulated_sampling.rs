//! The choice of tokens through the host's wrapper, on the stand-in for NVIDIA's driver: as a plain call and as a recorded step.
//!
//! What the kernels compute is tested in `emulated_kernels.rs`; here it is that the host lays out what they read.

#![cfg(feature = "cuda")]

use std::num::NonZeroU32;

use spillway_emulated_driver::EmulatedDriver;
use spillway_kernels::cuda::ops::sampling::{
    self, Choice, Draw, Exclusion, OutputToken, REPORT_WORDS, ROW_WORDS, RowOutcome, SamplingInput,
    SamplingOutput, SamplingReport, SamplingRows,
};
use spillway_kernels::cuda::{
    ArenaSize, CudaConfig, CudaDevice, CudaError, DeviceBuffer, LaunchOverlap, Products, StepGraph,
};

const VOCAB: usize = 300;
const NUM_ROWS: usize = 5;
const MAX_LIST_WORDS: usize = 64;

fn open() -> CudaDevice {
    CudaDevice::new(CudaConfig {
        ordinal: 0,
        arena: ArenaSize::Bytes(64 << 20),
        products: Products::BatchInvariant,
        overlap: LaunchOverlap::Overlapped,
        records_steps: true,
    })
    .expect("the emulated device opens")
}

/// A step's buffers at fixed addresses. The input has all orders first, then lists.
struct Step {
    logits: DeviceBuffer<f32>,
    input: DeviceBuffer<u32>,
    previous: DeviceBuffer<u32>,
    tokens: DeviceBuffer<u32>,
    report: DeviceBuffer<u32>,
    scratch: DeviceBuffer<u8>,
}

impl Step {
    fn new(device: &CudaDevice, logits: &[f32]) -> Result<Self, CudaError> {
        Ok(Self {
            logits: device.upload_new("logits", logits)?,
            input: device.alloc_zeros("orders and lists", NUM_ROWS * ROW_WORDS + MAX_LIST_WORDS)?,
            previous: device.upload_new("previous tokens", &[11, 12, 13, 14, 15])?,
            tokens: device.alloc("tokens", NUM_ROWS)?,
            report: device.alloc("report", NUM_ROWS * REPORT_WORDS)?,
            // Two rows at once, so three groups.
            scratch: device.alloc("scratch", 2 * sampling::scratch_bytes_per_row(VOCAB))?,
        })
    }

    fn upload(&mut self, device: &CudaDevice, rows: &SamplingRows) -> Result<(), CudaError> {
        let (mut orders, lists) = self.input.as_mut_slice().split_at(NUM_ROWS * ROW_WORDS);
        device.upload(rows.orders(), &mut orders)?;
        device.upload(rows.lists(), &mut lists.slice(0..rows.lists().len()))
    }

    fn enqueue(&mut self, device: &CudaDevice) -> Result<(), CudaError> {
        let whole = self.input.as_slice();
        let input = SamplingInput {
            logits: self.logits.as_slice(),
            orders: whole.slice(0..NUM_ROWS * ROW_WORDS),
            lists: whole.slice(NUM_ROWS * ROW_WORDS..whole.len()),
            previous: self.previous.as_slice(),
        };
        let mut out = SamplingOutput {
            tokens: self.tokens.as_mut_slice(),
            report: self.report.as_mut_slice(),
            scratch: self.scratch.as_mut_slice(),
        };
        sampling::sample(device, input, &mut out)
    }

    /// The tokens by slot, and the report's bytes.
    fn read(&self, device: &CudaDevice) -> Result<(Vec<u32>, Vec<u8>), CudaError> {
        let words = device.download_vec(self.report.as_slice())?;
        let bytes = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
        Ok((device.download_vec(self.tokens.as_slice())?, bytes))
    }
}

/// Logits that rise with the token, but for the last row, which has a NaN.
fn rising() -> Vec<f32> {
    let mut logits: Vec<f32> = (0..NUM_ROWS * VOCAB).map(|i| (i % VOCAB) as f32 * 0.125).collect();
    logits[4 * VOCAB + 9] = f32::NAN;
    logits
}

fn likeliest_of_few() -> Choice {
    let top_k = NonZeroU32::new(1);
    Choice::Random(Draw {
        temperature: 0.5,
        top_k,
        top_p: None,
        min_p: None,
        seed: 3,
        choice: 0,
        position: 9,
    })
}

/// Greedy, a draw without a choice, a row that may not say what came last, a score, a row that fails.
fn first_step() -> Result<SamplingRows, CudaError> {
    let mut rows = SamplingRows::new(VOCAB, NUM_ROWS)?;
    rows.push(Choice::Greedy, Some(3), Some(2))?;
    rows.push(likeliest_of_few(), Some(0), None)?.allow([5, 40, 17])?;
    let exclusions = [Exclusion { token: 299, after: Some(13) }, Exclusion { token: 298, after: Some(14) }];
    rows.push(Choice::Greedy, Some(2), None)?
        .exclude(exclusions)?
        .outputs([OutputToken::Known(1), OutputToken::Sampled { slot: 2 }])?;
    rows.push(Choice::Score { target: 290 }, None, Some(0))?;
    rows.push(Choice::Greedy, Some(4), None)?;
    Ok(rows)
}

#[test]
fn a_step_tells_each_row_its_token_and_a_broken_one_its_reason() -> Result<(), CudaError> {
    let Some(_driver) = EmulatedDriver::load().expect("the stand-in can be built and loaded") else {
        return Ok(());
    };
    let device = open();
    let mut step = Step::new(&device, &rising())?;
    step.upload(&device, &first_step()?)?;
    step.enqueue(&device)?;
    let (tokens, bytes) = step.read(&device)?;
    assert_eq!([tokens[3], tokens[0], tokens[2], tokens[4]], [299, 40, 298, 0]);
    let report = SamplingReport::new(&bytes, NUM_ROWS).expect("it is whole");
    // Of weights that fall by e^(-1/8) each, the first has the fraction 1 - e^(-1/8).
    let best = (1.0 - (-0.125_f64).exp()).ln();
    let near = |found: f32, expected: f64| (f64::from(found) - expected).abs() < 1e-5;
    for (row, token, logprob, rank) in
        [(0, 299, best, 1), (1, 40, best - 259.0 * 0.125, 0), (3, 290, best - 9.0 * 0.125, 10)]
    {
        let RowOutcome::Chosen { token: found, logprob: told, rank: ranked } = report.outcome(row) else {
            panic!("row {row} has no token");
        };
        assert!(near(told, logprob), "row {row}: {told}, expected {logprob}");
        assert_eq!((found, ranked), (token, rank), "row {row}");
    }
    assert_eq!(report.outcome(4), RowOutcome::NotFinite { token: 9 });
    let tops: Vec<(u32, f32)> = report.tops(0, 2).collect();
    assert_eq!((tops[0].0, tops[1].0), (299, 298));
    assert!(near(tops[1].1, best - 0.125));
    Ok(())
}

#[test]
fn a_recorded_step_serves_rows_that_ask_for_something_else() -> Result<(), CudaError> {
    let Some(_driver) = EmulatedDriver::load().expect("the stand-in can be built and loaded") else {
        return Ok(());
    };
    let device = open();
    let mut step = Step::new(&device, &rising())?;
    step.upload(&device, &first_step()?)?;
    step.enqueue(&device)?;
    let recorded = StepGraph::record(&device, NUM_ROWS, || step.enqueue(&device))?;
    let mut rows = SamplingRows::new(VOCAB, NUM_ROWS)?;
    rows.push_idle();
    for slot in 1..4 {
        rows.push(Choice::Greedy, Some(slot), None)?.allow([slot, 2 * slot])?;
    }
    rows.push_idle();
    step.upload(&device, &rows)?;
    device.upload(&[77_u32; NUM_ROWS], &mut step.tokens.as_mut_slice())?;
    recorded.launch()?;
    assert_eq!(step.read(&device)?.0, [77, 2, 4, 6, 77]);
    Ok(())
}
