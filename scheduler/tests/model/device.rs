//! A device whose "model" is a pure function of the tokens before a position, read from the lent blocks.

use std::collections::HashMap;

use spillway_scheduler::{RowResult, ScheduledRow, Scheduler, SchedulerOutput};
use spillway_types::{SeqId, StepId, TokenId};

/// Tokens that the model knows; the last one is the end.
const VOCABULARY: u64 = 24;
/// The token that ends a sequence.
pub(crate) const END: TokenId = TokenId(VOCABULARY as u32 - 1);
/// What a row feeds that waits for a token which never came.
const GARBAGE: TokenId = TokenId(u32::MAX);

/// Stands for the keys and values of one position: a digest of all tokens up to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Digest(u64);

impl Digest {
    const BEFORE_ALL: Self = Self(0x9E37_79B9_7F4A_7C15);

    /// The digest after one more token.
    fn then(self, token: TokenId) -> Self {
        let mut bits = self.0 ^ (u64::from(token.0) + 1).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        bits = (bits ^ (bits >> 30)).wrapping_mul(0x94D0_49BB_1331_11EB);
        Self(bits ^ (bits >> 27))
    }

    /// The token that `seed` samples after these.
    fn sample(self, seed: u64) -> TokenId {
        let bits = self.then(TokenId(seed as u32)).0 >> 20;
        TokenId((bits % VOCABULARY) as u32)
    }
}

/// The tokens that `prompt` goes on with when nothing disturbs it.
pub(crate) fn undisturbed(prompt: &[TokenId], seed: u64, max_len: u32, ignores_end: bool) -> Vec<TokenId> {
    let mut digest = prompt.iter().fold(Digest::BEFORE_ALL, |digest, &token| digest.then(token));
    let mut tokens = Vec::new();
    while prompt.len() + tokens.len() < max_len as usize {
        let token = digest.sample(seed);
        tokens.push(token);
        if token == END && !ignores_end {
            break;
        }
        digest = digest.then(token);
    }
    tokens
}

/// What one row brings: unlucky rows none, lucky ones several tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Luck {
    None,
    One,
    Several,
}

impl Luck {
    fn of_row(luck: u64, row_idx: usize) -> Self {
        match Digest(luck).then(TokenId(row_idx as u32)).0 % 16 {
            0 => Self::None,
            1 | 2 => Self::Several,
            _ => Self::One,
        }
    }
}

/// Memory of every block, and the last step's samples.
#[derive(Debug)]
pub(crate) struct Device {
    block_size: u32,
    memory: HashMap<(u32, u32), Digest>,
    last_step: Option<RanStep>,
}

/// What a step left behind for the next one.
#[derive(Debug)]
struct RanStep {
    step: StepId,
    /// By row: whose it is, and the token that it sampled.
    samples: Vec<(SeqId, Option<TokenId>)>,
}

impl Device {
    pub(crate) fn new(block_size: u32) -> Self {
        Self { block_size, memory: HashMap::new(), last_step: None }
    }

    /// Runs a step as soon as it is planned. With `luck`, some rows bring none or several tokens.
    pub(crate) fn launch(
        &mut self,
        scheduler: &Scheduler,
        output: &SchedulerOutput,
        seeds: &HashMap<SeqId, u64>,
        luck: Option<u64>,
    ) -> Vec<RowResult> {
        let mut results = Vec::new();
        let mut samples = Vec::new();
        for (row_idx, row) in output.rows.iter().enumerate() {
            let digest = self.compute(scheduler, output.step, row);
            let luck = luck.map_or(Luck::One, |luck| Luck::of_row(luck, row_idx));
            let tokens =
                if row.samples { bring(digest, seeds[&row.seq_id], luck) } else { RowResult::default() };
            samples.push((row.seq_id, tokens.tokens.first().copied()));
            results.push(tokens);
        }
        self.last_step = Some(RanStep { step: output.step, samples });
        results
    }

    /// Computes the positions of one row from what its blocks hold. Returns the last position's digest.
    fn compute(&mut self, scheduler: &Scheduler, step: StepId, row: &ScheduledRow) -> Digest {
        let tokens = scheduler.tokens(row.seq_id).expect("a row's sequence lives");
        let blocks = scheduler.block_table(row.seq_id).expect("a row's sequence runs");
        let slot =
            |position: u32| (blocks[(position / self.block_size) as usize].0, position % self.block_size);
        let mut digest = match row.start {
            0 => Digest::BEFORE_ALL,
            start => *self.memory.get(&slot(start - 1)).expect("the position before has been computed"),
        };
        for position in row.positions() {
            let token = match tokens.get(position as usize) {
                Some(&token) => token,
                None => self.sampled(step, row, position),
            };
            digest = digest.then(token);
            self.memory.insert(slot(position), digest);
        }
        let all_known = tokens.len() >= row.end() as usize;
        assert_eq!(row.sampled_by_row.is_none(), all_known, "exactly an unknown token names its row");
        digest
    }

    /// The token that the previous step sampled for this sequence.
    fn sampled(&self, step: StepId, row: &ScheduledRow, position: u32) -> TokenId {
        assert_eq!(position + 1, row.end(), "only the last token may be unknown");
        let last = self.last_step.as_ref().expect("a step came before");
        assert_eq!(last.step.0 + 1, step.0, "an unknown token was sampled in the step before");
        let by_row = row.sampled_by_row.expect("an unknown token names its row");
        let (seq_id, token) = last.samples[by_row as usize];
        assert_eq!(seq_id, row.seq_id, "the named row is of the same sequence");
        token.unwrap_or(GARBAGE)
    }
}

/// The tokens that follow `digest`, as many as luck will have it.
fn bring(digest: Digest, seed: u64, luck: Luck) -> RowResult {
    let count = match luck {
        Luck::None => 0,
        Luck::One => 1,
        Luck::Several => 3,
    };
    let mut digest = digest;
    let mut next = || {
        let token = digest.sample(seed);
        digest = digest.then(token);
        token
    };
    (0..count).map(|_| next()).collect()
}
