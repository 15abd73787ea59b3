//! Who is next: sequences without blocks, by priority class and age.
//!
//! A sequence rises one class for every ageing interval since it was submitted, running or not, so that in the end the
//! oldest of all stands before everybody. Within a class the older goes first; that also puts a preempted sequence at
//! the head, since all behind it came later.
//!
//! Siblings that wait for their leader's prompt are *parked*: nobody has to step over them.
//!
//! In a request's path: from `submit` or a preemption until admission.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::time::Duration;

use spillway_types::{Priority, SeqId};

use crate::sequence::{Sequence, WaitingSequence};

/// Place in line; the least goes first. Ids rise with every submitted sequence, so the lesser id is the older.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Rank {
    class: Reverse<Priority>,
    /// The sequence.
    pub(crate) seq_id: SeqId,
}

/// Raises classes with time.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ageing {
    /// Time after which a sequence rises one class.
    pub(crate) interval: Duration,
}

impl Ageing {
    /// The place of a sequence at the time `now`.
    pub(crate) fn rank(self, sequence: &Sequence, now: Duration) -> Rank {
        let class = self.class(sequence.priority, now.saturating_sub(sequence.submitted));
        Rank { class: Reverse(class), seq_id: sequence.seq_id }
    }

    /// The class of a sequence that began as `priority` and is `age` old.
    fn class(self, priority: Priority, age: Duration) -> Priority {
        let mut class = priority.index();
        let mut rises_at = self.interval;
        while class + 1 < Priority::ALL.len() && age >= rises_at {
            class += 1;
            rises_at = rises_at.saturating_add(self.interval);
        }
        Priority::ALL[class]
    }
}

/// All sequences without blocks.
#[derive(Debug)]
pub(crate) struct WaitingQueue {
    ageing: Ageing,
    /// By the class that the client asked for. The first of each is also the first of it after ageing.
    classes: [BTreeMap<SeqId, WaitingSequence>; Priority::ALL.len()],
    parked: BTreeMap<SeqId, WaitingSequence>,
}

impl WaitingQueue {
    /// An empty queue.
    pub(crate) fn new(ageing: Ageing) -> Self {
        Self { ageing, classes: Default::default(), parked: BTreeMap::new() }
    }

    /// Puts a sequence at its place in line.
    pub(crate) fn push(&mut self, waiting: WaitingSequence) {
        self.classes[waiting.sequence.priority.index()].insert(waiting.sequence.seq_id, waiting);
    }

    /// Puts a sequence aside until [`unpark`](Self::unpark).
    pub(crate) fn park(&mut self, waiting: WaitingSequence) {
        self.parked.insert(waiting.sequence.seq_id, waiting);
    }

    /// Lets the siblings after `leader`, of `n` in all, stand in line.
    pub(crate) fn unpark(&mut self, leader: SeqId, n: u32) {
        for seq_id in leader.0 + 1..leader.0 + u64::from(n) {
            if let Some(waiting) = self.parked.remove(&SeqId(seq_id)) {
                self.push(waiting);
            }
        }
    }

    /// The sequence whose turn it is at the time `now`.
    pub(crate) fn first_mut(&mut self, now: Duration) -> Option<&mut WaitingSequence> {
        let ageing = self.ageing;
        let heads = self.classes.iter_mut().filter_map(|class| class.values_mut().next());
        heads.min_by_key(|waiting| ageing.rank(&waiting.sequence, now))
    }

    /// Takes a sequence out, wherever it is.
    pub(crate) fn remove(&mut self, seq_id: SeqId) -> Option<WaitingSequence> {
        self.parts_mut().find_map(|part| part.remove(&seq_id))
    }

    /// A sequence, wherever it is.
    pub(crate) fn get(&self, seq_id: SeqId) -> Option<&WaitingSequence> {
        self.parts().find_map(|part| part.get(&seq_id))
    }

    /// A sequence, wherever it is.
    pub(crate) fn get_mut(&mut self, seq_id: SeqId) -> Option<&mut WaitingSequence> {
        self.parts_mut().find_map(|part| part.get_mut(&seq_id))
    }

    /// Whether a sequence is parked.
    pub(crate) fn is_parked(&self, seq_id: SeqId) -> bool {
        self.parked.contains_key(&seq_id)
    }

    /// All sequences, in no useful order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &WaitingSequence> {
        self.parts().flat_map(BTreeMap::values)
    }

    /// All sequences but those put aside, which share a prompt with one that is not, in no useful order.
    pub(crate) fn in_line(&self) -> impl Iterator<Item = &WaitingSequence> {
        self.classes.iter().flat_map(BTreeMap::values)
    }

    /// Number of sequences.
    pub(crate) fn len(&self) -> u32 {
        self.parts().map(BTreeMap::len).sum::<usize>() as u32
    }

    fn parts(&self) -> impl Iterator<Item = &BTreeMap<SeqId, WaitingSequence>> {
        self.classes.iter().chain([&self.parked])
    }

    fn parts_mut(&mut self) -> impl Iterator<Item = &mut BTreeMap<SeqId, WaitingSequence>> {
        self.classes.iter_mut().chain([&mut self.parked])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_class_rises_once_for_each_interval_and_stops_at_the_highest() {
        let ageing = Ageing { interval: Duration::from_secs(10) };
        let class = |priority, seconds| ageing.class(priority, Duration::from_secs(seconds));
        assert_eq!(class(Priority::Low, 9), Priority::Low);
        assert_eq!(class(Priority::Low, 10), Priority::Normal);
        assert_eq!(class(Priority::Low, 20), Priority::High);
        assert_eq!(class(Priority::Low, 1000), Priority::High);
        assert_eq!(class(Priority::Normal, 10), Priority::High);
    }
}
