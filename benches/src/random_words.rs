//! Prompts of random words, the same for the same seed.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

/// Short common words: nearly all are one token with their leading space in today's vocabularies.
const WORDS: &str = "\
    time year people way day man thing woman life child world school state family student group country problem \
    hand part place case week company system program question work government number night point home water \
    room mother area money story fact month lot right study book eye job word business issue side kind head \
    house service friend father power hour game line end member law car city community name president team \
    minute idea body information back parent face others level office door health person art war history party \
    result change morning reason research girl guy moment air";

/// Marks a load's warm-ups, so that they share no prefix with what is measured.
const WARM_UP_STREAM: u64 = 1 << 63;

/// Makes the prompts of one load.
#[derive(Debug, Clone)]
pub(crate) struct RandomWords {
    seed: u64,
    shared_prefix: String,
    num_words: usize,
}

/// How long random prompts are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PromptShape {
    /// Words that all prompts of a load share as their beginning.
    pub(crate) shared_words: usize,
    /// Words of each prompt's own.
    pub(crate) own_words: usize,
}

impl RandomWords {
    /// The prompts of a load; loads share no words in order, so that none warms another's cache.
    pub(crate) fn new(seed: u64, load_idx: u64, shape: PromptShape) -> Self {
        let seed = seed.wrapping_mul(1 << 20).wrapping_add(load_idx << 40);
        let shared_prefix = words(&mut StdRng::seed_from_u64(seed), shape.shared_words);
        Self { seed, shared_prefix, num_words: shape.own_words }
    }

    /// Prompts to warm a load up: the same shape, other words.
    pub(crate) fn warm_up(seed: u64, load_idx: u64, shape: PromptShape) -> Self {
        let mut prompts = Self::new(seed, load_idx, shape);
        prompts.seed ^= WARM_UP_STREAM;
        prompts.shared_prefix = words(&mut StdRng::seed_from_u64(prompts.seed), shape.shared_words);
        prompts
    }

    /// The prompt of one request.
    pub(crate) fn get(&self, request_idx: usize) -> String {
        let mut random = StdRng::seed_from_u64(self.seed.wrapping_add(1 + request_idx as u64));
        let own = words(&mut random, self.num_words);
        match (self.shared_prefix.is_empty(), own.is_empty()) {
            (true, _) => own,
            (_, true) => self.shared_prefix.clone(),
            _ => format!("{} {own}", self.shared_prefix),
        }
    }
}

fn words(random: &mut StdRng, num_words: usize) -> String {
    let all: Vec<&str> = WORDS.split_whitespace().collect();
    let picked: Vec<&str> = (0..num_words).map(|_| all[random.random_range(0..all.len())]).collect();
    picked.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prompts(seed: u64, load_idx: u64) -> RandomWords {
        RandomWords::new(seed, load_idx, PromptShape { shared_words: 0, own_words: 20 })
    }

    #[test]
    fn the_same_seed_gives_the_same_prompts_and_others_differ() {
        assert_eq!(prompts(7, 0).get(3), prompts(7, 0).get(3));
        assert_ne!(prompts(7, 0).get(3), prompts(7, 0).get(4));
        assert_ne!(prompts(7, 0).get(3), prompts(8, 0).get(3));
        assert_ne!(prompts(7, 0).get(3), prompts(7, 1).get(3));
        let shape = PromptShape { shared_words: 0, own_words: 20 };
        assert_ne!(prompts(7, 0).get(3), RandomWords::warm_up(7, 0, shape).get(3));
    }

    #[test]
    fn a_shared_prefix_comes_first() {
        let prompts = RandomWords::new(1, 0, PromptShape { shared_words: 2, own_words: 3 });
        let (first, second) = (prompts.get(0), prompts.get(1));
        let beginning = |prompt: &str| prompt.split(' ').take(2).map(str::to_owned).collect::<Vec<_>>();
        assert_eq!((beginning(&first), first.split(' ').count()), (beginning(&second), 5));
        assert_ne!(first, second);
    }
}
