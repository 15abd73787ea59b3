//! What rows ask of the sampling kernels, laid out as the kernels read it.
//!
//! Everything is words of one upload: 24 of each row, at a fixed place, and behind them lists of any length to which they
//! point. Memory is kept from step to step.

use std::num::NonZeroU32;

use super::super::super::error::CudaError;
use super::{MAX_TOP, OP};

/// Words of one row's order. As `Row` in `kernels/cuda/sample.cuh`.
pub const ROW_WORDS: usize = 24;

/// Absent: a mask, a ranking, a slot.
const NONE: u32 = u32::MAX;
/// Marks a token of the previous step in a list of outputs.
const SAMPLED: u32 = crate::feed::SAMPLED_FLAG;

const IDLE: u32 = 0;
const GREEDY: u32 = 1;
const RANDOM: u32 = 2;
const SCORE: u32 = 3;

/// Words of an order that are set after the row was begun.
const REPETITION: usize = 12;
const MASK: usize = 15;
const EXCLUDED: usize = 16;
const BIASES: usize = 18;
const PROMPT: usize = 20;
const OUTPUTS: usize = 22;

/// How a row's token is found.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Choice {
    /// The likeliest after all rules; of equals the lowest id.
    Greedy,
    /// A random one.
    Random(Draw),
    /// It is known, and scored under the logits.
    Score {
        /// The token.
        target: u32,
    },
}

/// A random choice: cuts by min-p, top-k and top-p in this order, then a draw.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Draw {
    /// Divisor of the logits, above 0.
    pub temperature: f32,
    /// Keep this many of the likeliest.
    pub top_k: Option<NonZeroU32>,
    /// Keep the likeliest whose probabilities first sum to this, in (0, 1).
    pub top_p: Option<f32>,
    /// Keep tokens at least this fraction as likely as the likeliest, in (0, 1].
    pub min_p: Option<f32>,
    /// Seed of the request.
    pub seed: u64,
    /// Which of the request's sequences this is.
    pub choice: u32,
    /// Position of the token to be sampled.
    pub position: u32,
}

/// A token that must not come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exclusion {
    /// The token.
    pub token: u32,
    /// Only if this was the last output; always, if absent.
    pub after: Option<u32>,
}

impl Exclusion {
    /// What forbids the last token of `word` after `outputs`, if the tokens before it have come, or may have: whether the
    /// last output is the wanted one is found out on the device.
    ///
    /// # Errors
    ///
    /// [`CudaError::Unsupported`] if an output before the last one is not known, which the word needs.
    pub fn of_word(
        word: impl DoubleEndedIterator<Item = u32>,
        outputs: impl DoubleEndedIterator<Item = OutputToken>,
    ) -> Result<Option<Self>, CudaError> {
        let mut word = word.rev();
        let Some(token) = word.next() else { return Ok(None) };
        let mut outputs = outputs.rev();
        let mut after = None;
        for (i, wanted) in word.enumerate() {
            match outputs.next() {
                Some(OutputToken::Known(found)) if found == wanted => {}
                Some(OutputToken::Known(_)) | None => return Ok(None),
                Some(OutputToken::Sampled { .. }) if i == 0 => after = Some(wanted),
                Some(OutputToken::Sampled { slot }) => {
                    let supported = "only the last output";
                    let found = format!("slot {slot}, {i} tokens earlier");
                    return Err(CudaError::Unsupported { op: OP, what: "unknown output", found, supported });
                }
            }
        }
        Ok(Some(Self { token, after }))
    }
}

/// A token that a sequence has generated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutputToken {
    /// Its id is known to the host.
    Known(u32),
    /// It is the previous step's token at a slot.
    Sampled {
        /// Which one.
        slot: u32,
    },
}

/// What tokens that have come lose.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RowPenalties {
    /// Divides positive logits and multiplies negative ones, of tokens in the prompt and in the output.
    pub repetition: f32,
    /// Taken off once for all times that a token was generated.
    pub presence: f32,
    /// Taken off once for each time.
    pub frequency: f32,
}

/// The rows of a step.
#[derive(Debug)]
pub struct SamplingRows {
    vocab: u32,
    slots: u32,
    orders: Vec<u32>,
    lists: Vec<u32>,
    has_tops: bool,
}

impl SamplingRows {
    /// No rows yet. Slots are places for tokens, in this step and in the one before.
    ///
    /// # Errors
    ///
    /// [`CudaError::Unsupported`] for a vocabulary or a number of slots beyond what the kernels take.
    pub fn new(vocab: usize, slots: usize) -> Result<Self, CudaError> {
        if vocab > super::MAX_VOCAB {
            let supported = "up to 1048576";
            return Err(CudaError::Unsupported {
                op: OP,
                what: "vocab",
                found: vocab.to_string(),
                supported,
            });
        }
        let Some(slots) = u32::try_from(slots).ok().filter(|&slots| slots < SAMPLED) else {
            let supported = "below 2^31";
            return Err(CudaError::Unsupported {
                op: OP,
                what: "slots",
                found: slots.to_string(),
                supported,
            });
        };
        Ok(Self { vocab: vocab as u32, slots, orders: Vec::new(), lists: Vec::new(), has_tops: false })
    }

    /// Forgets all rows.
    pub fn clear(&mut self) {
        self.orders.clear();
        self.lists.clear();
        self.has_tops = false;
    }

    /// Whether any row asks for the likeliest tokens.
    pub fn has_tops(&self) -> bool {
        self.has_tops
    }

    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.orders.len() / ROW_WORDS
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.orders.is_empty()
    }

    /// `[rows, ROW_WORDS]`
    pub fn orders(&self) -> &[u32] {
        &self.orders
    }

    /// What the orders point to.
    pub fn lists(&self) -> &[u32] {
        &self.lists
    }

    /// Adds a row that fills up a batch: nothing is read or written for it.
    pub fn push_idle(&mut self) {
        self.orders.resize(self.orders.len() + ROW_WORDS, IDLE);
    }

    /// Adds a row whose token goes to `slot`, if to any, and is told with its rank and the `top` likeliest tokens, if that is
    /// asked for. What it answers with takes the row's rules.
    ///
    /// # Errors
    ///
    /// [`CudaError::Unsupported`] if target, slot or count are out of range.
    pub fn push(
        &mut self,
        choice: Choice,
        slot: Option<u32>,
        top: Option<u32>,
    ) -> Result<RowLists<'_>, CudaError> {
        if let Some(slot) = slot {
            expect_below("slot", slot, self.slots)?;
        }
        if let Some(top) = top {
            expect_below("number of top tokens", top, MAX_TOP as u32 + 1)?;
        }
        if let Choice::Score { target } = choice {
            expect_below("target", target, self.vocab)?;
        }
        let first_word = self.orders.len();
        self.has_tops |= top.is_some_and(|count| count > 0);
        self.orders.extend(order(choice, slot, top));
        Ok(RowLists { rows: self, first_word })
    }

    /// Adds a list, and points to it from two words of an order.
    fn set_list(&mut self, at: usize, begin: usize, words_each: usize) -> Result<(), CudaError> {
        let Ok(first) = u32::try_from(begin) else {
            let found = begin.to_string();
            return Err(CudaError::Unsupported {
                op: OP,
                what: "words of lists",
                found,
                supported: "below 2^32",
            });
        };
        self.orders[at] = first;
        self.orders[at + 1] = ((self.lists.len() - begin) / words_each) as u32;
        Ok(())
    }
}

/// A row's words, with no rules yet.
fn order(choice: Choice, slot: Option<u32>, top: Option<u32>) -> [u32; ROW_WORDS] {
    let mut words = [0; ROW_WORDS];
    let one = 1.0_f32.to_bits();
    (words[1], words[4]) = (one, one);
    match choice {
        Choice::Greedy => words[0] = GREEDY,
        Choice::Score { target } => (words[0], words[9]) = (SCORE, target),
        Choice::Random(draw) => {
            words[0] = RANDOM;
            // The same division as on the CPU, so that scores have the same bits.
            words[1] = (1.0 / draw.temperature).to_bits();
            words[2] = draw.min_p.unwrap_or(0.0).to_bits();
            words[3] = draw.top_k.map_or(0, NonZeroU32::get);
            words[4] = draw.top_p.unwrap_or(1.0).to_bits();
            (words[5], words[6]) = (draw.seed as u32, (draw.seed >> 32) as u32);
            (words[7], words[8]) = (draw.choice, draw.position);
        }
    }
    (words[10], words[11]) = (top.unwrap_or(NONE), slot.unwrap_or(NONE));
    (words[REPETITION], words[MASK]) = (one, NONE);
    words
}

fn expect_below(what: &'static str, found: u32, limit: u32) -> Result<(), CudaError> {
    if found < limit {
        return Ok(());
    }
    let (found, expected) = (found as usize, limit as usize);
    Err(CudaError::Shape { op: OP, what, found, expected })
}

/// Takes the rules of the row that was added last. Each kind at most once; tokens outside the vocabulary are left out.
#[derive(Debug)]
pub struct RowLists<'a> {
    rows: &'a mut SamplingRows,
    first_word: usize,
}

impl RowLists<'_> {
    /// Only these tokens may come.
    ///
    /// # Errors
    ///
    /// [`CudaError::Unsupported`] if the step's lists are too long, as for every list here.
    pub fn allow(&mut self, tokens: impl IntoIterator<Item = u32>) -> Result<&mut Self, CudaError> {
        let begin = self.rows.lists.len();
        let num_words = self.rows.vocab.div_ceil(32) as usize;
        self.rows.lists.resize(begin + num_words, 0);
        for token in tokens.into_iter().filter(|&token| token < self.rows.vocab) {
            self.rows.lists[begin + token as usize / 32] |= 1 << (token % 32);
        }
        self.set_mask(begin)
    }

    /// Only tokens whose bits are set may come: token `v` is bit `v % 32` of word `v / 32`.
    ///
    /// # Errors
    ///
    /// [`CudaError::Shape`] unless there is a word for every 32 tokens.
    pub fn allow_mask(&mut self, words: &[u32]) -> Result<&mut Self, CudaError> {
        let expected = self.rows.vocab.div_ceil(32) as usize;
        super::expect_equal(OP, "words of a mask", words.len(), expected)?;
        let begin = self.rows.lists.len();
        self.rows.lists.extend_from_slice(words);
        self.set_mask(begin)
    }

    fn set_mask(&mut self, begin: usize) -> Result<&mut Self, CudaError> {
        let at = self.first_word + MASK;
        let next = self.rows.orders[at + 1];
        self.rows.set_list(at, begin, 1)?;
        // A mask has no count: its length is the vocabulary's.
        self.rows.orders[at + 1] = next;
        Ok(self)
    }

    /// These tokens must not come. A condition looks at the row's outputs, which must then be given.
    ///
    /// # Errors
    ///
    /// As [`Self::allow`].
    pub fn exclude(&mut self, tokens: impl IntoIterator<Item = Exclusion>) -> Result<&mut Self, CudaError> {
        let begin = self.rows.lists.len();
        let vocab = self.rows.vocab;
        for Exclusion { token, after } in tokens.into_iter().filter(|exclusion| exclusion.token < vocab) {
            self.rows.lists.extend([token, after.unwrap_or(NONE)]);
        }
        self.rows.set_list(self.first_word + EXCLUDED, begin, 2)?;
        Ok(self)
    }

    /// Adds to logits. Each token at most once.
    ///
    /// # Errors
    ///
    /// As [`Self::allow`].
    pub fn bias(&mut self, biases: impl IntoIterator<Item = (u32, f32)>) -> Result<&mut Self, CudaError> {
        let begin = self.rows.lists.len();
        let vocab = self.rows.vocab;
        for (token, bias) in biases.into_iter().filter(|(token, _)| *token < vocab) {
            self.rows.lists.extend([token, bias.to_bits()]);
        }
        self.rows.set_list(self.first_word + BIASES, begin, 2)?;
        Ok(self)
    }

    /// Penalises what stands in the prompt and in [`Self::outputs`].
    ///
    /// # Errors
    ///
    /// As [`Self::allow`].
    pub fn penalise(
        &mut self,
        penalties: RowPenalties,
        prompt: impl IntoIterator<Item = u32>,
    ) -> Result<&mut Self, CudaError> {
        let RowPenalties { repetition, presence, frequency } = penalties;
        let words = [repetition, presence, frequency].map(f32::to_bits);
        self.rows.orders[self.first_word + REPETITION..][..3].copy_from_slice(&words);
        let begin = self.rows.lists.len();
        let vocab = self.rows.vocab;
        self.rows.lists.extend(prompt.into_iter().filter(|&token| token < vocab));
        self.rows.set_list(self.first_word + PROMPT, begin, 1)?;
        Ok(self)
    }

    /// What the sequence has generated, in order; needed where rules look at it.
    ///
    /// # Errors
    ///
    /// [`CudaError::Shape`] for a slot out of range; as [`Self::allow`].
    pub fn outputs(
        &mut self,
        outputs: impl IntoIterator<Item = OutputToken>,
    ) -> Result<&mut Self, CudaError> {
        let begin = self.rows.lists.len();
        for output in outputs {
            let word = match output {
                OutputToken::Known(token) => {
                    expect_below("output", token, self.rows.vocab)?;
                    token
                }
                OutputToken::Sampled { slot } => {
                    expect_below("slot of an output", slot, self.rows.slots)?;
                    SAMPLED | slot
                }
            };
            self.rows.lists.push(word);
        }
        self.rows.set_list(self.first_word + OUTPUTS, begin, 1)?;
        Ok(self)
    }
}

#[cfg(test)]
mod tests;
