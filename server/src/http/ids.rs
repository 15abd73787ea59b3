//! Names of requests and seeds of those that bring none.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use spillway_types::{RequestId, Seed};

/// Hands out ids. Names are unlike those of other processes, since each process starts from random keys.
pub(crate) struct Ids {
    random: RandomState,
    next: AtomicU64,
}

impl Ids {
    /// Starts at one, with new random keys from the operating system.
    pub(crate) fn new() -> Self {
        Self { random: RandomState::new(), next: AtomicU64::new(1) }
    }

    /// The next id, unique within the process.
    pub(crate) fn request_id(&self) -> RequestId {
        RequestId(self.next.fetch_add(1, Relaxed))
    }

    /// A name for a request whose client gave none.
    pub(crate) fn request_name(&self) -> String {
        let RequestId(id) = self.request_id();
        format!("{:016x}{id:08x}", self.random.hash_one(id))
    }

    /// A seed for a request that brings none.
    pub(crate) fn seed(&self, request_id: RequestId) -> Seed {
        Seed(self.random.hash_one(("seed", request_id.0)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_seeds_differ_between_requests_and_processes() {
        let (ids, other) = (Ids::new(), Ids::new());
        assert_ne!(ids.request_name(), ids.request_name());
        assert_ne!(ids.seed(RequestId(1)), ids.seed(RequestId(2)));
        assert_ne!(ids.seed(RequestId(1)), other.seed(RequestId(1)));
    }
}
