//! Checks every invariant that this crate promises. For tests and for idle moments: it looks at everything.

use std::collections::HashMap;

use spillway_types::SeqId;

use super::Scheduler;
use crate::InvariantError;
use crate::sequence::{RunningSequence, Sequence};

impl Scheduler {
    /// Checks all books against each other; costs time in proportion to everything that is held.
    ///
    /// # Errors
    ///
    /// The first [`InvariantError`] found, which is a defect of this crate.
    pub fn check(&self) -> Result<(), InvariantError> {
        self.pool.check(self.running.values().map(|running| &running.table))?;
        self.check_sequences()?;
        self.check_order()?;
        self.check_requests()
    }

    fn check_sequences(&self) -> Result<(), InvariantError> {
        let mut rows_in_flight = HashMap::<SeqId, u32>::new();
        for planned in self.in_flight.iter().flat_map(|step| &step.rows) {
            *rows_in_flight.entry(planned.row.seq_id).or_default() += 1;
        }
        let check_any = |sequence: &Sequence| {
            let planned = rows_in_flight.get(&sequence.seq_id).copied().unwrap_or(0);
            let rows_agree = planned == sequence.rows_in_flight;
            require(sequence, rows_agree, "its rows in flight are miscounted")?;
            let known_is_expected = sequence.known_len() <= sequence.expected_len;
            require(sequence, known_is_expected, "a known token is not expected")?;
            require(
                sequence,
                sequence.expected_len <= sequence.max_len,
                "more is expected than it may have",
            )?;
            require(sequence, sequence.known_len() < sequence.max_len, "it should have ended")
        };
        for waiting in self.waiting.iter() {
            check_any(&waiting.sequence)?;
        }
        for running in self.running.values() {
            check_any(&running.sequence)?;
            self.check_running(running)?;
        }
        Ok(())
    }

    fn check_running(&self, running: &RunningSequence) -> Result<(), InvariantError> {
        let sequence = &running.sequence;
        let num_blocks = running.table.len();
        let block_size = self.config.block_size;
        require(sequence, num_blocks > 0, "it runs without blocks")?;
        require(sequence, running.done <= running.computed, "more is done than was planned")?;
        require(
            sequence,
            running.computed < sequence.expected_len,
            "a position is planned that nothing needs",
        )?;
        let has_room = num_blocks >= block_size.blocks_for(running.computed);
        require(sequence, has_room, "its blocks do not hold what is planned")?;
        // Rows whose token never came may have taken a block too early.
        let max_len = sequence.expected_len + self.config.max_in_flight_steps.get();
        let has_no_more = num_blocks <= block_size.blocks_for(max_len);
        require(sequence, has_no_more, "it holds more blocks than it needs")
    }

    fn check_order(&self) -> Result<(), InvariantError> {
        let mut ordered: Vec<SeqId> = self.order.iter().map(|rank| rank.seq_id).collect();
        ordered.sort_unstable();
        for running in self.running.values() {
            let is_ordered = ordered.binary_search(&running.sequence.seq_id).is_ok();
            require(&running.sequence, is_ordered, "it runs and is not in line")?;
        }
        let mut pairs = ordered.windows(2);
        match pairs.find(|pair| pair[0] == pair[1]) {
            Some(pair) => Err(InvariantError::Sequence { seq_id: pair[0], what: "it is in line twice" }),
            None => Ok(()),
        }
    }

    fn check_requests(&self) -> Result<(), InvariantError> {
        let mut num_waiting_requests = 0;
        let mut num_live = 0;
        for (request_id, request) in self.requests.iter() {
            let require = |holds: bool, what| {
                if holds { Ok(()) } else { Err(InvariantError::Request { request_id, what }) }
            };
            let num_running = request.seq_ids().filter(|seq_id| self.running.contains_key(seq_id)).count();
            let num_waiting = request.seq_ids().filter(|seq_id| self.waiting.get(*seq_id).is_some()).count();
            require(request.num_waiting as usize == num_waiting, "its waiting sequences are miscounted")?;
            require(request.num_live as usize == num_running + num_waiting, "its sequences are miscounted")?;
            require(request.num_live > 0, "it is kept without sequences")?;
            let has_parked = request.seq_ids().any(|seq_id| self.waiting.is_parked(seq_id));
            let leader_running = self.running.get(&request.first).map(|leader| &leader.sequence);
            let leader_waiting = || self.waiting.get(request.first).map(|leader| &leader.sequence);
            let leader = leader_running.or_else(leader_waiting);
            let is_awaited = leader.is_some_and(|leader| leader.has_parked_siblings);
            require(!has_parked || is_awaited, "its siblings wait for nobody")?;
            num_waiting_requests += u32::from(request.num_waiting > 0);
            num_live += u64::from(request.num_live);
            require(num_waiting_requests <= self.requests.num_waiting(), "waiting requests are miscounted")?;
        }
        let held = self.running.len() as u64 + u64::from(self.waiting.len());
        let any = self.running.values().map(|running| running.sequence.request_id).next();
        match any {
            Some(request_id) if held != num_live => {
                Err(InvariantError::Request { request_id, what: "a sequence has no request" })
            }
            _ => Ok(()),
        }
    }
}

fn require(sequence: &Sequence, holds: bool, what: &'static str) -> Result<(), InvariantError> {
    if holds { Ok(()) } else { Err(InvariantError::Sequence { seq_id: sequence.seq_id, what }) }
}
