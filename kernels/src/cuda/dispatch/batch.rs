//! A step's batch on the device: one copy up, then every op reads its part at a fixed address.
//!
//! Rows of one token (decodes) are listed apart from chunks of prompts: one launch of attention serves all decodes,
//! and one all chunks. What launches depend on (how many rows, the widest block table, how many splits) is a
//! [`BatchShape`]; lengths and tables themselves are read from device memory, so a recorded step serves every batch
//! of its shape.
//!
//! # Invariants
//!
//! - With [`Products::BatchInvariant`] every row counts as a chunk: the sums of attention then do not depend on how a
//!   prompt was cut, or on who shares the step.

use crate::batch::{BatchLimits, Rehearsal, StepBatch};
use crate::cuda::ops::attention::SPLIT_UNIT_KEYS;
use crate::cuda::ops::sampling::{ROW_WORDS, SamplingRows};
use crate::cuda::{CudaDevice, CudaError, DeviceSlice, GraphBuckets, Products, StagedPart, StepUpload};
use crate::recorded::MAX_GRAPHS;

/// The smallest of the context lengths that launches are planned for; each of the others is four times the one before.
const MIN_CONTEXT: usize = 256;
const CONTEXT_FACTOR: usize = 4;
/// Splits of all decodes together that keep the multiprocessors busy: with eight KV heads, as many blocks of threads as a
/// Hopper GPU holds at once.
const BUSY_SPLITS: usize = 32;
/// Splits of one decode in any company, and the keys for which each of them is worth a launch: so one long context does not
/// hold up many short ones.
const SPLITS_OF_ONE: usize = 8;
const KEYS_OF_ONE_SPLIT: usize = 2048;

/// Splits of all decodes of a step together, at most.
pub(super) fn max_cells(max_rows: usize) -> usize {
    (max_rows * SPLITS_OF_ONE).max(BUSY_SPLITS)
}

/// What a step's launches depend on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct BatchShape {
    /// All tokens, padding included.
    pub(crate) tokens: usize,
    /// Rows of one token.
    pub(crate) decodes: usize,
    /// Tokens that need logits.
    pub(crate) logits: usize,
    /// Keys that the longest row may have.
    pub(crate) max_context: usize,
    /// Whether tokens are chosen on the device.
    pub(crate) samples: bool,
}

impl BatchShape {
    /// How many splits attention launches for each decode.
    fn max_splits(&self) -> usize {
        let of_one = SPLITS_OF_ONE.min(self.max_context / KEYS_OF_ONE_SPLIT);
        let wanted = (BUSY_SPLITS / self.decodes.max(1)).max(of_one);
        wanted.min(self.max_context.div_ceil(SPLIT_UNIT_KEYS)).max(1)
    }
}

/// The parts of an uploaded step: `[tokens]`, `[logits]`, of decodes and of chunks.
#[derive(Debug, Clone, Copy)]
struct Parts {
    tokens: StagedPart,
    positions: StagedPart,
    slots: StagedPart,
    logit_tokens: StagedPart,
    split_keys: StagedPart,
    decode_tokens: StagedPart,
    decode_kv_lens: StagedPart,
    chunk_starts: StagedPart,
    chunk_lens: StagedPart,
    chunk_kv_lens: StagedPart,
    tables: StagedPart,
    orders: StagedPart,
    /// Last, for its length differs between steps of one shape.
    lists: StagedPart,
}

/// Parts that an upload has besides the first; each may begin 12 bytes later than the one before ends.
const NUM_LISTS: usize = 12;

/// The batch of a step on the device.
#[derive(Debug)]
pub(crate) struct CudaBatch {
    upload: StepUpload,
    buckets: Option<GraphBuckets>,
    products: Products,
    /// Positions of a row, at most.
    max_context: usize,
    parts: Option<Parts>,
    shape: BatchShape,
    table_stride: usize,
    longest_chunk: usize,
    // Lists under way, kept so that a step does not allocate.
    lists: Lists,
}

#[derive(Debug)]
struct Lists {
    /// Rows: decodes first.
    order: Vec<usize>,
    decode_tokens: Vec<u32>,
    decode_kv_lens: Vec<u32>,
    chunk_starts: Vec<u32>,
    chunk_lens: Vec<u32>,
    chunk_kv_lens: Vec<u32>,
    tables: Vec<u32>,
}

impl CudaBatch {
    /// Room for the largest step, and for `max_list_words` words of lists where tokens are chosen on the device.
    pub(crate) fn new(
        device: &CudaDevice,
        limits: BatchLimits,
        max_list_words: Option<usize>,
    ) -> Result<Self, CudaError> {
        let rows = limits.max_rows;
        let blocks_per_row = limits.max_blocks.div_ceil(rows.max(1));
        let table_len = rows * blocks_per_row.max(MIN_CONTEXT.div_ceil(limits.block_size));
        let list_bytes = 4 * (4 * limits.max_tokens + 5 * rows + 1) + 16 * (NUM_LISTS + 1);
        let sampling_words = max_list_words.map_or(0, |words| words + limits.max_tokens * ROW_WORDS);
        let config = device.config();
        Ok(Self {
            upload: StepUpload::new(device, list_bytes + 4 * (table_len + sampling_words))?,
            buckets: config.records_steps.then(|| GraphBuckets::up_to(rows)),
            products: config.products,
            max_context: blocks_per_row * limits.block_size,
            parts: None,
            shape: BatchShape { tokens: 0, decodes: 0, logits: 0, max_context: MIN_CONTEXT, samples: false },
            table_stride: 0,
            longest_chunk: 0,
            lists: Lists {
                order: Vec::with_capacity(rows),
                decode_tokens: Vec::with_capacity(rows),
                decode_kv_lens: Vec::with_capacity(rows),
                chunk_starts: Vec::with_capacity(rows),
                chunk_lens: Vec::with_capacity(rows),
                chunk_kv_lens: Vec::with_capacity(rows),
                tables: Vec::with_capacity(table_len),
            },
        })
    }

    /// To how many rows `batch` is to be filled up, if its step is one of those that are recorded.
    pub(crate) fn padded_rows(&self, batch: &StepBatch) -> Option<usize> {
        let is_recorded = batch.num_rows() == batch.num_tokens() && batch.num_tokens() > 0;
        self.buckets.as_ref().filter(|_| is_recorded)?.bucket_of(batch.num_rows())
    }

    /// Sends a batch up. Enqueues one copy and returns.
    pub(crate) fn send(&mut self, batch: &StepBatch) -> Result<(), CudaError> {
        self.parts = None;
        self.list_rows(batch);
        self.table_stride = self.shape.max_context.div_ceil(batch.limits().block_size);
        self.list_tables(batch);
        let lists = &self.lists;
        let longest = lists.decode_kv_lens.iter().copied().max().unwrap_or(0) as usize;
        let all_keys: usize = lists.decode_kv_lens.iter().map(|&keys| keys as usize).sum();
        let split_keys = longest.div_ceil(self.shape.max_splits()).max(all_keys.div_ceil(BUSY_SPLITS));
        let split_keys = split_keys.next_multiple_of(SPLIT_UNIT_KEYS);
        let upload = &mut self.upload;
        upload.begin()?;
        self.parts = Some(Parts {
            tokens: upload.push(batch.tokens())?,
            positions: upload.push(batch.positions())?,
            slots: upload.push(batch.slots())?,
            logit_tokens: upload.push(batch.logit_tokens())?,
            split_keys: upload.push(&[split_keys.max(SPLIT_UNIT_KEYS) as u32])?,
            decode_tokens: upload.push(&lists.decode_tokens)?,
            decode_kv_lens: upload.push(&lists.decode_kv_lens)?,
            chunk_starts: upload.push(&lists.chunk_starts)?,
            chunk_lens: upload.push(&lists.chunk_lens)?,
            chunk_kv_lens: upload.push(&lists.chunk_kv_lens)?,
            tables: upload.push(&lists.tables)?,
            orders: upload.push(batch.sampling().map_or(&[], SamplingRows::orders))?,
            lists: upload.push(batch.sampling().map_or(&[], SamplingRows::lists))?,
        });
        upload.commit()
    }

    /// Sorts rows into decodes and chunks, and finds what launches depend on.
    fn list_rows(&mut self, batch: &StepBatch) {
        let lists = &mut self.lists;
        lists.clear();
        let is_decode = |&row: &usize| match self.products {
            Products::Fastest => batch.row_tokens(row).len() == 1,
            Products::BatchInvariant => false,
        };
        lists.order.extend((0..batch.num_rows()).filter(is_decode));
        let decodes = lists.order.len();
        lists.order.extend((0..batch.num_rows()).filter(|row| !is_decode(row)));
        let mut longest = 0;
        self.longest_chunk = 0;
        for (order_idx, &row) in lists.order.iter().enumerate() {
            let tokens = batch.row_tokens(row);
            let is_padding = batch.is_padding(row);
            let kv_len = if is_padding { 0 } else { batch.positions()[tokens.end - 1] + 1 };
            longest = longest.max(kv_len as usize);
            if order_idx < decodes {
                lists.decode_tokens.push(tokens.start as u32);
                lists.decode_kv_lens.push(kv_len);
            } else {
                self.longest_chunk = self.longest_chunk.max(tokens.len());
                lists.chunk_starts.push(tokens.start as u32);
                lists.chunk_lens.push(if is_padding { 0 } else { tokens.len() as u32 });
                lists.chunk_kv_lens.push(kv_len);
            }
        }
        self.shape = BatchShape {
            tokens: batch.num_tokens(),
            decodes,
            logits: batch.num_logits(),
            max_context: self.planned_context(longest.max(batch.rehearsed_context())),
            samples: batch.sampling().is_some(),
        };
    }

    /// The context that launches for rows of up to `keys` keys are planned for.
    fn planned_context(&self, keys: usize) -> usize {
        // The last of them is no longer than rows can be.
        let mut contexts = planned_contexts(self.max_context);
        contexts.find(|&context| context >= keys).unwrap_or(keys)
    }

    /// The shapes of steps of decodes that all sample.
    pub(crate) fn rehearsals(&self) -> Vec<Rehearsal> {
        let of_rows = |num_rows| {
            planned_contexts(self.max_context).map(move |max_context| Rehearsal { num_rows, max_context })
        };
        let all: Vec<Rehearsal> =
            self.buckets.iter().flat_map(GraphBuckets::descending).flat_map(of_rows).collect();
        // Where there are too many, small steps gain most: launches are all that they cost.
        let num_left_out = all.len().saturating_sub(MAX_GRAPHS);
        all[num_left_out..].to_vec()
    }

    /// Lays the block tables out with one stride, decodes first.
    fn list_tables(&mut self, batch: &StepBatch) {
        let Lists { order, tables, .. } = &mut self.lists;
        for (order_idx, &row) in order.iter().enumerate() {
            tables.extend_from_slice(batch.row_blocks(row));
            tables.resize((order_idx + 1) * self.table_stride, 0);
        }
    }

    fn part(&self, part: impl Fn(&Parts) -> StagedPart) -> Result<DeviceSlice<'_, u32>, CudaError> {
        let parts = self.parts.as_ref().ok_or(CudaError::NotUploaded)?;
        Ok(self.upload.part(part(parts)))
    }

    /// What launches depend on.
    pub(crate) fn shape(&self) -> BatchShape {
        self.shape
    }

    /// Whether the shape says all that launches depend on: rows of one token each.
    pub(crate) fn is_recordable(&self) -> bool {
        self.buckets.is_some() && self.lists.order.len() == self.shape.tokens
    }

    /// `[tokens]`: ids, or rows of the step before.
    pub(super) fn tokens(&self) -> Result<DeviceSlice<'_, u32>, CudaError> {
        self.part(|parts| parts.tokens)
    }

    /// `[tokens]`
    pub(super) fn positions(&self) -> Result<DeviceSlice<'_, u32>, CudaError> {
        self.part(|parts| parts.positions)
    }

    /// `[tokens]`
    pub(super) fn slots(&self) -> Result<DeviceSlice<'_, u32>, CudaError> {
        self.part(|parts| parts.slots)
    }

    /// `[logits]`
    pub(super) fn logit_tokens(&self) -> Result<DeviceSlice<'_, u32>, CudaError> {
        self.part(|parts| parts.logit_tokens)
    }

    /// `[logits, ROW_WORDS]`: what the sampler is asked for.
    pub(super) fn orders(&self) -> Result<DeviceSlice<'_, u32>, CudaError> {
        self.part(|parts| parts.orders)
    }

    /// What those orders point to.
    pub(super) fn lists(&self) -> Result<DeviceSlice<'_, u32>, CudaError> {
        self.part(|parts| parts.lists)
    }

    /// What attention over decodes reads.
    pub(super) fn decodes(&self) -> Result<Decodes<'_>, CudaError> {
        Ok(Decodes {
            tokens: self.part(|parts| parts.decode_tokens)?,
            kv_lens: self.part(|parts| parts.decode_kv_lens)?,
            tables: self.part(|parts| parts.tables)?.slice(0..self.shape.decodes * self.table_stride),
            split_keys: self.part(|parts| parts.split_keys)?,
            max_splits: self.shape.max_splits(),
        })
    }

    /// What attention over chunks reads.
    pub(super) fn chunks(&self) -> Result<Chunks<'_>, CudaError> {
        let tables = self.part(|parts| parts.tables)?;
        Ok(Chunks {
            starts: self.part(|parts| parts.chunk_starts)?,
            lens: self.part(|parts| parts.chunk_lens)?,
            kv_lens: self.part(|parts| parts.chunk_kv_lens)?,
            tables: tables.slice(self.shape.decodes * self.table_stride..tables.len()),
            longest: self.longest_chunk,
        })
    }

    /// Entries from one table to the next.
    pub(super) fn table_stride(&self) -> usize {
        self.table_stride
    }
}

/// The rows of one token.
#[derive(Debug, Clone, Copy)]
pub(super) struct Decodes<'a> {
    /// `[decodes]`: their tokens.
    pub(super) tokens: DeviceSlice<'a, u32>,
    /// `[decodes]`: keys that each sees; 0 for padding.
    pub(super) kv_lens: DeviceSlice<'a, u32>,
    /// `[decodes, table_stride]`
    pub(super) tables: DeviceSlice<'a, u32>,
    /// `[1]`: keys of a split.
    pub(super) split_keys: DeviceSlice<'a, u32>,
    /// Splits that are launched for each.
    pub(super) max_splits: usize,
}

/// The other rows.
#[derive(Debug, Clone, Copy)]
pub(super) struct Chunks<'a> {
    /// `[chunks]`: their first tokens.
    pub(super) starts: DeviceSlice<'a, u32>,
    /// `[chunks]`: how many tokens each has; 0 for padding.
    pub(super) lens: DeviceSlice<'a, u32>,
    /// `[chunks]`: keys that the last token of each sees.
    pub(super) kv_lens: DeviceSlice<'a, u32>,
    /// `[chunks, table_stride]`
    pub(super) tables: DeviceSlice<'a, u32>,
    /// Tokens of the longest.
    pub(super) longest: usize,
}

impl Lists {
    fn clear(&mut self) {
        self.order.clear();
        for list in [
            &mut self.decode_tokens,
            &mut self.decode_kv_lens,
            &mut self.chunk_starts,
            &mut self.chunk_lens,
            &mut self.chunk_kv_lens,
            &mut self.tables,
        ] {
            list.clear();
        }
    }
}

/// The contexts that launches are planned for, ascending, where rows have `max_context` positions at most.
fn planned_contexts(max_context: usize) -> impl Iterator<Item = usize> {
    let max_context = max_context.max(MIN_CONTEXT);
    let step = move |&context: &usize| {
        (context < max_context).then(|| context.saturating_mul(CONTEXT_FACTOR).min(max_context))
    };
    std::iter::successors(Some(MIN_CONTEXT), step)
}
