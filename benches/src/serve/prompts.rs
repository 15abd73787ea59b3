//! Prompts of random words, the same for the same seed.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::args::Args;

/// Short common words: nearly all are one token with their leading space in today's vocabularies.
const WORDS: [&str; 96] = [
    "time",
    "year",
    "people",
    "way",
    "day",
    "man",
    "thing",
    "woman",
    "life",
    "child",
    "world",
    "school",
    "state",
    "family",
    "student",
    "group",
    "country",
    "problem",
    "hand",
    "part",
    "place",
    "case",
    "week",
    "company",
    "system",
    "program",
    "question",
    "work",
    "government",
    "number",
    "night",
    "point",
    "home",
    "water",
    "room",
    "mother",
    "area",
    "money",
    "story",
    "fact",
    "month",
    "lot",
    "right",
    "study",
    "book",
    "eye",
    "job",
    "word",
    "business",
    "issue",
    "side",
    "kind",
    "head",
    "house",
    "service",
    "friend",
    "father",
    "power",
    "hour",
    "game",
    "line",
    "end",
    "member",
    "law",
    "car",
    "city",
    "community",
    "name",
    "president",
    "team",
    "minute",
    "idea",
    "body",
    "information",
    "back",
    "parent",
    "face",
    "others",
    "level",
    "office",
    "door",
    "health",
    "person",
    "art",
    "war",
    "history",
    "party",
    "result",
    "change",
    "morning",
    "reason",
    "research",
    "girl",
    "guy",
    "moment",
    "air",
];

/// Marks a level's warm-ups, so that they share no prefix with what is measured.
const WARM_UP_STREAM: u64 = 1 << 63;

/// Makes the prompts of one load level.
#[derive(Debug)]
pub(super) struct Prompts {
    seed: u64,
    shared_prefix: String,
    num_words: usize,
}

impl Prompts {
    /// The prompts of a level; levels share no words in order, so that no level warms another's cache.
    pub(super) fn new(args: &Args, level_idx: u64) -> Self {
        let seed = args.seed.wrapping_mul(1 << 20).wrapping_add(level_idx << 40);
        let shared_prefix = words(&mut StdRng::seed_from_u64(seed), args.shared_prefix_words);
        Self { seed, shared_prefix, num_words: args.input_words }
    }

    /// Prompts to warm a level up: the same shape, other words.
    pub(super) fn warmups(args: &Args, level_idx: u64) -> Self {
        let mut warmups = Self::new(args, level_idx);
        warmups.seed ^= WARM_UP_STREAM;
        warmups.shared_prefix = words(&mut StdRng::seed_from_u64(warmups.seed), args.shared_prefix_words);
        warmups
    }

    /// The prompt of one request.
    pub(super) fn get(&self, request_idx: usize) -> String {
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
    let picked: Vec<&str> = (0..num_words).map(|_| WORDS[random.random_range(0..WORDS.len())]).collect();
    picked.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prompts(seed: u64, level_idx: u64) -> Prompts {
        let mut prompts = Prompts { seed, shared_prefix: String::new(), num_words: 20 };
        prompts.seed = prompts.seed.wrapping_add(level_idx << 40);
        prompts
    }

    #[test]
    fn the_same_seed_gives_the_same_prompts_and_others_differ() {
        assert_eq!(prompts(7, 0).get(3), prompts(7, 0).get(3));
        assert_ne!(prompts(7, 0).get(3), prompts(7, 0).get(4));
        assert_ne!(prompts(7, 0).get(3), prompts(8, 0).get(3));
        assert_ne!(prompts(7, 0).get(3), prompts(7, 1).get(3));
    }

    #[test]
    fn a_shared_prefix_comes_first() {
        let prompts = Prompts { seed: 1, shared_prefix: "once upon".to_owned(), num_words: 2 };
        let prompt = prompts.get(0);
        assert!(prompt.starts_with("once upon "), "{prompt}");
        assert_eq!(prompt.split(' ').count(), 4);
    }
}
