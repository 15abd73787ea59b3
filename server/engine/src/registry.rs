//! The requests that the engine thread is serving: where their news goes, and when it came last.

use std::collections::HashMap;
use std::time::Duration;

use spillway_types::{FinishReason, RequestId, ScoredToken, SeqId};
use tokio::sync::mpsc;

use crate::batch::SeqSampling;
use crate::error::EngineError;
use crate::message::Update;
use crate::meters::Meters;

/// Every live request and sequence. A request leaves with its last sequence.
#[derive(Debug, Default)]
pub(crate) struct Registry {
    requests: HashMap<RequestId, LiveRequest>,
    seqs: HashMap<SeqId, LiveSeq>,
    num_finished: u64,
}

#[derive(Debug)]
struct LiveRequest {
    updates: mpsc::UnboundedSender<Update>,
    arrived: Duration,
    prompt_tokens: u32,
    seq_ids: Vec<SeqId>,
    num_open: usize,
}

#[derive(Debug)]
struct LiveSeq {
    request_id: RequestId,
    sampling: SeqSampling,
    num_generated: u32,
    last_tokens_at: Option<Duration>,
}

/// A request as it enters.
#[derive(Debug)]
pub(crate) struct NewRequest {
    pub(crate) request_id: RequestId,
    pub(crate) updates: mpsc::UnboundedSender<Update>,
    pub(crate) arrived: Duration,
    pub(crate) prompt_tokens: u32,
    /// One sampling for each sequence, in the order of the choices.
    pub(crate) seqs: Vec<(SeqId, SeqSampling)>,
}

/// Whether anybody still reads a request's news.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reader {
    Listening,
    Gone,
}

impl Registry {
    pub(crate) fn insert(&mut self, new: NewRequest) {
        let seq_ids: Vec<SeqId> = new.seqs.iter().map(|(seq_id, _)| *seq_id).collect();
        for (seq_id, sampling) in new.seqs {
            let seq =
                LiveSeq { request_id: new.request_id, sampling, num_generated: 0, last_tokens_at: None };
            self.seqs.insert(seq_id, seq);
        }
        let request = LiveRequest {
            updates: new.updates,
            arrived: new.arrived,
            prompt_tokens: new.prompt_tokens,
            num_open: seq_ids.len(),
            seq_ids,
        };
        self.requests.insert(new.request_id, request);
    }

    /// The request of a live sequence.
    pub(crate) fn request_of(&self, seq_id: SeqId) -> Option<RequestId> {
        self.seqs.get(&seq_id).map(|seq| seq.request_id)
    }

    /// How the tokens of a live sequence are chosen, and what is told of them.
    pub(crate) fn sampling_mut(&mut self, seq_id: SeqId) -> Option<&mut SeqSampling> {
        self.seqs.get_mut(&seq_id).map(|seq| &mut seq.sampling)
    }

    /// Every live request.
    pub(crate) fn request_ids(&self) -> Vec<RequestId> {
        self.requests.keys().copied().collect()
    }

    /// Tells a request that its first sequence was given blocks. The others share that one's prompt: what they find
    /// cached is no discount of the request's own.
    pub(crate) fn admitted(&self, seq_id: SeqId, cached_tokens: u32, now: Duration, meters: &Meters) {
        let Some(seq) = self.seqs.get(&seq_id).filter(|seq| seq.sampling.choice == 0) else { return };
        let Some(request) = self.requests.get(&seq.request_id) else { return };
        meters.admitted(request.prompt_tokens, cached_tokens, now.saturating_sub(request.arrived));
        // A reader that has gone is noticed when its first tokens come.
        request.send(Update::Admitted { cached_tokens });
    }

    /// Sends scores of a sequence's prompt.
    pub(crate) fn prompt_scored(&self, seq_id: SeqId, tokens: Vec<ScoredToken>) {
        let Some(seq) = self.seqs.get(&seq_id) else { return };
        let Some(request) = self.requests.get(&seq.request_id) else { return };
        // A reader that has gone is noticed when its first tokens come.
        request.send(Update::PromptScored { tokens });
    }

    /// Sends new tokens of a sequence, and its end if it came to one.
    pub(crate) fn tokens(
        &mut self,
        seq_id: SeqId,
        tokens: Vec<ScoredToken>,
        finish: Option<FinishReason>,
        (now, meters): (Duration, &Meters),
    ) -> Reader {
        let Some(seq) = self.seqs.get_mut(&seq_id) else { return Reader::Gone };
        let Some(request) = self.requests.get(&seq.request_id) else { return Reader::Gone };
        if !tokens.is_empty() {
            match seq.last_tokens_at.replace(now) {
                None => meters.first_tokens(tokens.len(), now.saturating_sub(request.arrived)),
                Some(last) => meters.more_tokens(tokens.len(), now.saturating_sub(last)),
            }
            seq.num_generated += tokens.len() as u32;
        }
        let reader = request.send(Update::Tokens { choice: seq.sampling.choice, tokens, finish });
        if let Some(reason) = finish {
            self.finish(seq_id, reason, now, meters);
        }
        reader
    }

    /// Drops a sequence that ended; its request goes with the last one.
    pub(crate) fn finish(&mut self, seq_id: SeqId, reason: FinishReason, now: Duration, meters: &Meters) {
        let Some(seq) = self.seqs.remove(&seq_id) else { return };
        self.num_finished += 1;
        let Some(request) = self.requests.get_mut(&seq.request_id) else { return };
        let e2e = now.saturating_sub(request.arrived);
        meters.finished(reason, request.prompt_tokens, seq.num_generated, e2e);
        request.num_open -= 1;
        if request.num_open == 0 {
            self.requests.remove(&seq.request_id);
        }
    }

    /// Drops a request with all its sequences, telling its reader why if it failed.
    pub(crate) fn remove(
        &mut self,
        request_id: RequestId,
        failure: Option<EngineError>,
        (now, meters): (Duration, &Meters),
    ) {
        let Some(request) = self.requests.get(&request_id) else { return };
        let reason = if failure.is_some() { FinishReason::Failed } else { FinishReason::Aborted };
        if let Some(error) = failure {
            request.send(Update::Failed { error });
        }
        for seq_id in request.seq_ids.clone() {
            self.finish(seq_id, reason, now, meters);
        }
    }

    /// Sequences that have ended since start, for whatever reason.
    pub(crate) fn num_finished(&self) -> u64 {
        self.num_finished
    }

    /// Whether nothing is being served.
    pub(crate) fn is_empty(&self) -> bool {
        self.requests.is_empty()
    }
}

impl LiveRequest {
    fn send(&self, update: Update) -> Reader {
        if self.updates.send(update).is_ok() { Reader::Listening } else { Reader::Gone }
    }
}

#[cfg(test)]
mod tests {
    use spillway_types::{ModelId, Sampling, Seed};

    use super::*;
    use crate::meters::CacheInfo;

    #[test]
    fn what_siblings_find_cached_is_not_told() {
        let meters =
            Meters::new(&ModelId::new("any"), CacheInfo { block_size: 16, num_blocks: 1, dtype: "f32" });
        let (updates, mut told) = mpsc::unbounded_channel();
        let first = SeqSampling {
            sampling: Sampling::Greedy,
            seed: Seed(0),
            choice: 0,
            prompt_len: 20,
            logprobs: None,
            rules: None,
            scoring: None,
        };
        let seqs = vec![(SeqId(0), first.clone()), (SeqId(1), first.of_choice(1))];
        let mut registry = Registry::default();
        let (request_id, arrived) = (RequestId(7), Duration::ZERO);
        registry.insert(NewRequest { request_id, updates, arrived, prompt_tokens: 20, seqs });
        registry.admitted(SeqId(0), 0, Duration::ZERO, &meters);
        registry.admitted(SeqId(1), 16, Duration::ZERO, &meters);
        assert!(matches!(told.try_recv(), Ok(Update::Admitted { cached_tokens: 0 })));
        assert!(told.try_recv().is_err(), "the second shares the first one's prompt");
    }
}
