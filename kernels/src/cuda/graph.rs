//! Records a step once and replays it with one call.
//!
//! A step's kernels read lengths, positions, slots and block tables from device memory at fixed
//! addresses, and their grids depend on the number of rows alone. So one recording for each *bucket*
//! of rows serves every step; a batch of fewer rows than its bucket is filled up with rows that
//! write to a spare block.

use cudarc::driver::{CudaGraph, sys};

use super::device::CudaDevice;
use super::error::{Context, CudaError};

/// Row counts for which decode steps are recorded: dense where a row more is felt most.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GraphBuckets {
    ascending: Vec<usize>,
}

impl GraphBuckets {
    /// 1, 2, 4, then multiples of 8 to 64, of 16 to 256, of 64 beyond, ending with `max_rows`.
    pub fn up_to(max_rows: usize) -> Self {
        let candidates = [1, 2, 4]
            .into_iter()
            .chain((8..64).step_by(8))
            .chain((64..256).step_by(16))
            .chain((256..).step_by(64).take_while(|&rows| rows < max_rows));
        let mut ascending: Vec<usize> = candidates.filter(|&rows| rows < max_rows).collect();
        if max_rows > 0 {
            ascending.push(max_rows);
        }
        Self { ascending }
    }

    /// The smallest bucket that holds `rows`.
    pub fn bucket_of(&self, rows: usize) -> Option<usize> {
        let index = self.ascending.partition_point(|&bucket| bucket < rows);
        self.ascending.get(index).copied()
    }

    /// The buckets, largest first: the order to record in, so that the largest needs come early.
    pub fn descending(&self) -> impl Iterator<Item = usize> {
        self.ascending.iter().rev().copied()
    }
}

/// One recorded step.
pub struct StepGraph {
    device: CudaDevice,
    graph: CudaGraph,
    bucket: usize,
}

// SAFETY: a graph's handles may be used from any thread, one at a time, with its context bound;
// `StepGraph` is not `Sync`, and `launch` binds the context.
unsafe impl Send for StepGraph {}

impl std::fmt::Debug for StepGraph {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("StepGraph").field("bucket", &self.bucket).finish_non_exhaustive()
    }
}

impl StepGraph {
    /// Records what `step` enqueues, without running it. Run `step` once before, so that choices
    /// made at the first call (such as a product's algorithm) are not made while recording.
    ///
    /// # Errors
    ///
    /// Those of `step`; [`CudaError::EmptyGraph`]; [`CudaError::Driver`] if something in it cannot
    /// be recorded, such as a wait.
    pub fn record<E: From<CudaError>>(
        device: &CudaDevice,
        bucket: usize,
        step: impl FnOnce() -> Result<(), E>,
    ) -> Result<Self, E> {
        // The first recorded kernel must not hang on work that is not in the graph.
        device.begin_plain_work()?;
        let mode = sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL;
        device.stream().begin_capture(mode).context("cuStreamBeginCapture")?;
        let recorded = step();
        // The capture is ended whatever `step` said, or the stream would stay unusable.
        let ended =
            device.stream().end_capture(sys::CUgraphInstantiate_flags(0)).context("cuStreamEndCapture");
        recorded?;
        let graph = ended?.ok_or(CudaError::EmptyGraph { bucket })?;
        graph.upload().context("cuGraphUpload")?;
        device.begin_plain_work()?;
        Ok(Self { device: device.clone(), graph, bucket })
    }

    /// How many rows it was recorded for.
    pub fn bucket(&self) -> usize {
        self.bucket
    }

    /// Enqueues the step.
    ///
    /// # Errors
    ///
    /// [`CudaError::Driver`].
    pub fn launch(&self) -> Result<(), CudaError> {
        self.device.begin_plain_work()?;
        self.graph.launch().context("cuGraphLaunch")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_batch_has_a_bucket_that_holds_it() {
        for max_rows in [1, 3, 8, 100, 256, 1000] {
            let buckets = GraphBuckets::up_to(max_rows);
            for rows in 1..=max_rows {
                let bucket = buckets.bucket_of(rows).expect("a bucket");
                assert!(bucket >= rows && bucket <= max_rows, "{rows} of {max_rows}: {bucket}");
            }
            assert_eq!(buckets.bucket_of(max_rows + 1), None);
        }
    }

    #[test]
    fn buckets_descend_without_repeats() {
        let buckets: Vec<usize> = GraphBuckets::up_to(300).descending().collect();
        assert!(buckets.windows(2).all(|pair| pair[0] > pair[1]), "{buckets:?}");
        assert_eq!(buckets.first(), Some(&300));
        assert_eq!(buckets.last(), Some(&1));
    }
}
