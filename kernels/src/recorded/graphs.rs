//! CUDA graphs by the shape of a step.

use std::collections::{HashMap, HashSet};

use crate::cuda::dispatch::{BatchShape, CudaBatch};
use crate::cuda::{CudaDevice, CudaError, StepGraph};
use crate::error::KernelError;
use crate::kv::PagedKv;

/// Most recordings kept. Each takes a megabyte or so; further shapes run without.
pub(crate) const MAX_GRAPHS: usize = 512;

/// What a recording is used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Key {
    shape: BatchShape,
    /// Where the KV cache begins.
    kv_address: Option<u64>,
}

impl Key {
    fn of(batch: &CudaBatch, kv: &[PagedKv]) -> Self {
        Self { shape: batch.shape(), kv_address: kv.first().and_then(PagedKv::device_address) }
    }
}

/// Recordings, and what was seen once.
#[derive(Debug, Default)]
pub(super) struct Graphs {
    recorded: HashMap<Key, StepGraph>,
    seen: HashSet<Key>,
    /// Numbers of tokens whose choices have been made.
    rehearsed_tokens: HashSet<usize>,
}

/// Why a recording failed: the recorder, or the step itself.
enum Recording<E> {
    Graph(CudaError),
    Step(E),
}

impl<E> From<CudaError> for Recording<E> {
    fn from(error: CudaError) -> Self {
        Self::Graph(error)
    }
}

impl<E: From<KernelError>> Recording<E> {
    fn into_inner(self) -> E {
        match self {
            Self::Graph(error) => KernelError::from(error).into(),
            Self::Step(error) => error,
        }
    }
}

fn record<E: From<KernelError>>(
    device: &CudaDevice,
    key: Key,
    step: impl FnOnce() -> Result<(), E>,
) -> Result<StepGraph, E> {
    StepGraph::record(device, key.shape.tokens, || step().map_err(Recording::Step))
        .map_err(Recording::into_inner)
}

impl Graphs {
    pub(super) fn run<E: From<KernelError>>(
        &mut self,
        device: &CudaDevice,
        batch: &CudaBatch,
        kv: &mut [PagedKv],
        step: impl FnOnce(&mut [PagedKv]) -> Result<(), E>,
    ) -> Result<(), E> {
        if !batch.is_recordable() {
            return step(kv);
        }
        let key = Key::of(batch, kv);
        if let Some(graph) = self.recorded.get(&key) {
            return graph.launch().map_err(|error| KernelError::from(error).into());
        }
        // The first time it runs plainly, so that choices made once (a product's algorithm) are made.
        if self.recorded.len() >= MAX_GRAPHS || self.seen.insert(key) {
            return step(kv);
        }
        let graph = record(device, key, || step(kv))?;
        graph.launch().map_err(KernelError::from)?;
        self.recorded.insert(key, graph);
        Ok(())
    }

    pub(super) fn num_recorded(&self) -> usize {
        self.recorded.len()
    }

    pub(super) fn rehearse<E: From<KernelError>>(
        &mut self,
        device: &CudaDevice,
        batch: &CudaBatch,
        kv: &mut [PagedKv],
        mut step: impl FnMut(&mut [PagedKv]) -> Result<(), E>,
    ) -> Result<(), E> {
        let key = Key::of(batch, kv);
        if self.recorded.len() >= MAX_GRAPHS || !batch.is_recordable() || self.recorded.contains_key(&key) {
            return Ok(());
        }
        if self.rehearsed_tokens.insert(key.shape.tokens) {
            step(kv)?;
        }
        let graph = record(device, key, || step(kv))?;
        self.recorded.insert(key, graph);
        Ok(())
    }
}
