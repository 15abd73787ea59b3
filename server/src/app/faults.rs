//! Breaks the model on purpose, so that tests can see the built server stand it. Not in builds that users get.
//!
//! A step's fault is told by a token: it strikes when a row computes that token as one of several, as a prompt does. So
//! a test says by its prompt which request breaks, and everyone else's requests only share the step.

use std::sync::Arc;

use spillway_engine::Today;
use spillway_kernels::KernelError;
use spillway_models::{
    BatchRow, DecoderSpec, ForwardBatch, InputToken, KvCache, Logits, Model, ModelError, PendingTokens,
    SampledTokens,
};
use spillway_types::TokenId;

use crate::config::{Fault, StepFault};

/// A model that breaks when it is told to.
struct FaultyModel {
    inner: Box<dyn Model>,
    spec: DecoderSpec,
    faults: Vec<(StepFault, TokenId)>,
    logits: Vec<f32>,
}

/// Plants the faults of steps.
pub(super) fn plant(model: Box<dyn Model>, faults: &[Fault]) -> Box<dyn Model> {
    let faults: Vec<_> = faults
        .iter()
        .filter_map(|fault| match *fault {
            Fault::Step { kind, token } => Some((kind, token)),
            Fault::TemplatePanic => None,
        })
        .collect();
    if faults.is_empty() {
        return model;
    }
    tracing::warn!(?faults, "steps will break on purpose");
    Box::new(FaultyModel { spec: model.spec().clone(), inner: model, faults, logits: Vec::new() })
}

/// Plants the fault of templates, which ask what day it is.
#[expect(clippy::panic, reason = "it is what was asked for")]
pub(super) fn plant_today(today: Today, faults: &[Fault]) -> Today {
    if faults.contains(&Fault::TemplatePanic) { Arc::new(|| panic!("a planted panic")) } else { today }
}

impl Model for FaultyModel {
    fn spec(&self) -> &DecoderSpec {
        &self.spec
    }

    #[expect(clippy::panic, reason = "it is what was asked for")]
    fn forward(
        &mut self,
        batch: &ForwardBatch,
        kv: &mut KvCache,
        sink: &mut dyn FnMut(Logits<'_>),
    ) -> Result<(), ModelError> {
        let mut poisoned = None;
        for &(kind, token) in &self.faults {
            let is_struck = batch.rows.iter().any(|row| computes(batch, row, token));
            match kind {
                _ if !is_struck => {}
                StepFault::Panic => panic!("a planted panic"),
                StepFault::Error => {
                    return Err(ModelError::OverLimit { name: "planted error", value: 1, limit: 0 });
                }
                StepFault::Device => return Err(broken_device()),
                StepFault::Hang => loop {
                    std::thread::park();
                },
                StepFault::Nan => poisoned = Some(token),
            }
        }
        let Some(token) = poisoned else { return self.inner.forward(batch, kv, sink) };
        // Whether each of the logits to come is struck, by the row that it belongs to.
        let rows = batch.rows.iter();
        let mut is_struck =
            rows.flat_map(|row| std::iter::repeat_n(computes(batch, row, token), row.num_logits() as usize));
        let (scratch, vocab_size) = (&mut self.logits, self.spec.vocab_size);
        self.inner.forward(batch, kv, &mut |logits| {
            scratch.clear();
            for (values, is_struck) in logits.rows().zip(&mut is_struck) {
                scratch.extend(values.iter().map(|&value| if is_struck { f32::NAN } else { value }));
            }
            sink(Logits::new(scratch, vocab_size));
        })
    }

    fn prepare(&mut self, kv: &mut KvCache) -> Result<usize, ModelError> {
        self.inner.prepare(kv)
    }

    fn launch(
        &mut self,
        batch: &ForwardBatch,
        kv: &mut KvCache,
    ) -> Result<Option<Box<dyn PendingTokens>>, ModelError> {
        let mut struck = self.faults.iter().filter(|(_, token)| {
            let token = *token;
            batch.rows.iter().any(|row| computes(batch, row, token))
        });
        match struck.next() {
            None => self.inner.launch(batch, kv),
            // A device tells of a fault when its step is waited for.
            Some((StepFault::Device, _)) => Ok(Some(Box::new(BrokenStep))),
            // All others strike in `forward`.
            Some(_) => Ok(None),
        }
    }
}

/// A step that a device has begun and cannot end.
#[derive(Debug)]
struct BrokenStep;

impl PendingTokens for BrokenStep {
    fn wait(self: Box<Self>, _batch: &ForwardBatch) -> Result<SampledTokens, ModelError> {
        Err(broken_device())
    }
}

fn broken_device() -> ModelError {
    let source = "a planted fault of the device".into();
    ModelError::Kernel(KernelError::DeviceBroken { source })
}

/// Whether a row computes `token` as one of several.
fn computes(batch: &ForwardBatch, row: &BatchRow, token: TokenId) -> bool {
    let tokens = &batch.tokens[row.tokens.start as usize..row.tokens.end as usize];
    tokens.len() > 1 && tokens.contains(&InputToken::Known(token))
}
