//! CUDA graphs by the shape of a step.

use std::collections::{HashMap, HashSet};

use crate::cuda::dispatch::{BatchShape, CudaBatch};
use crate::cuda::{CudaDevice, CudaError, StepGraph};
use crate::error::KernelError;
use crate::kv::PagedKv;

/// Most recordings kept. Each takes a megabyte or so; further shapes run without.
const MAX_GRAPHS: usize = 512;

/// What a recording is used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Key {
    shape: BatchShape,
    /// Where the KV cache begins.
    kv_address: Option<u64>,
}

/// Recordings, and what was seen once.
#[derive(Debug, Default)]
pub(super) struct Graphs {
    recorded: HashMap<Key, StepGraph>,
    seen: HashSet<Key>,
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
        let key = Key { shape: batch.shape(), kv_address: kv.first().and_then(PagedKv::device_address) };
        if let Some(graph) = self.recorded.get(&key) {
            return graph.launch().map_err(|error| KernelError::from(error).into());
        }
        // The first time it runs plainly, so that choices made once (a product's algorithm) are made.
        if self.recorded.len() >= MAX_GRAPHS || self.seen.insert(key) {
            return step(kv);
        }
        let graph = StepGraph::record(device, key.shape.tokens, || step(kv).map_err(Recording::Step));
        let graph = graph.map_err(Recording::into_inner)?;
        graph.launch().map_err(KernelError::from)?;
        self.recorded.insert(key, graph);
        Ok(())
    }
}
