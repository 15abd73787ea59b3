//! The requests being served, each with the sequences that it fanned out to.
//!
//! # Invariants
//!
//! - A request is here as long as one of its sequences lives.
//! - The count of waiting requests, which `max_waiting` limits, is that of requests with a waiting sequence.

use std::collections::HashMap;

use spillway_types::{RequestId, SeqId};

/// One request. Its sequences have consecutive ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RequestState {
    pub(crate) first: SeqId,
    pub(crate) n: u32,
    /// Sequences that have not ended.
    pub(crate) num_live: u32,
    /// Of these, sequences without blocks.
    pub(crate) num_waiting: u32,
}

impl RequestState {
    /// The sequences, ended ones too.
    pub(crate) fn seq_ids(&self) -> impl DoubleEndedIterator<Item = SeqId> + use<> {
        (self.first.0..self.first.0 + u64::from(self.n)).map(SeqId)
    }
}

/// All requests being served.
#[derive(Debug, Default)]
pub(crate) struct Requests {
    by_id: HashMap<RequestId, RequestState>,
    num_waiting: u32,
}

impl Requests {
    /// Adds a request whose `n` sequences wait.
    pub(crate) fn add(&mut self, request_id: RequestId, first: SeqId, n: u32) {
        self.by_id.insert(request_id, RequestState { first, n, num_live: n, num_waiting: n });
        self.num_waiting += 1;
    }

    /// A request, if it is being served.
    pub(crate) fn get(&self, request_id: RequestId) -> Option<RequestState> {
        self.by_id.get(&request_id).copied()
    }

    /// Requests with a waiting sequence.
    pub(crate) fn num_waiting(&self) -> u32 {
        self.num_waiting
    }

    /// A sequence begins to wait.
    pub(crate) fn note_waiting(&mut self, request_id: RequestId) {
        let request = self.expect_mut(request_id);
        request.num_waiting += 1;
        if request.num_waiting == 1 {
            self.num_waiting += 1;
        }
    }

    /// A waiting sequence waits no longer.
    pub(crate) fn note_not_waiting(&mut self, request_id: RequestId) {
        let request = self.expect_mut(request_id);
        request.num_waiting -= 1;
        if request.num_waiting == 0 {
            self.num_waiting -= 1;
        }
    }

    /// A sequence that does not wait has ended.
    pub(crate) fn note_ended(&mut self, request_id: RequestId) {
        let request = self.expect_mut(request_id);
        request.num_live -= 1;
        if request.num_live == 0 {
            self.by_id.remove(&request_id);
        }
    }

    /// All requests, in no useful order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (RequestId, RequestState)> {
        self.by_id.iter().map(|(&request_id, &request)| (request_id, request))
    }

    fn expect_mut(&mut self, request_id: RequestId) -> &mut RequestState {
        self.by_id.get_mut(&request_id).expect("a request is kept while it has sequences")
    }
}
