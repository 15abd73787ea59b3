//! Prompts, and what each gives alone, undisturbed, on one thread.

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use spillway_models::DtypePolicy;
use spillway_tests::{Ask, Choice, Knobs, LoadKnobs, RealModel, TestEngine, TestModel, parity_cases};

/// Prompts of a matrix and how far to go on from them.
pub(crate) struct Workload {
    /// The first two nearly fill their last blocks, whatever the block size, so that they soon outgrow a cache that has
    /// just room for both.
    pub(crate) prompts: Vec<Vec<u32>>,
    pub(crate) max_tokens: u32,
    /// Tokens of each prompt that a warm prefix cache knows. The first prompt goes on for more than the longest chunk.
    pub(crate) num_warm_tokens: usize,
}

/// The same model on one thread and on two.
pub(crate) struct Models([TestModel; 2]);

impl Models {
    pub(crate) fn load(path: &std::path::Path, dtype: DtypePolicy) -> Self {
        Self([1, 2].map(|num_threads| {
            TestModel::load(path, &LoadKnobs { dtype, num_threads, ..LoadKnobs::default() })
        }))
    }

    /// On one thread or on two.
    pub(crate) fn on_threads(&self, num_threads: usize) -> &TestModel {
        &self.0[num_threads - 1]
    }
}

impl Workload {
    /// Random tokens, for a vocabulary that means nothing.
    pub(crate) fn random(vocab_size: u32) -> Self {
        let mut random = StdRng::seed_from_u64(1);
        let lengths = [108, 100, 98, 90, 1, 7, 8, 15, 16, 17, 31, 33, 48, 49, 64, 65];
        let prompts = lengths.map(|len| (0..len).map(|_| random.random_range(0..vocab_size)).collect());
        Self { prompts: prompts.to_vec(), max_tokens: 40, num_warm_tokens: 41 }
    }

    /// Pieces of a golden prompt, for the demo model.
    pub(crate) fn of_demo() -> Self {
        let cases = parity_cases(RealModel::Demo);
        let longest = cases.iter().max_by_key(|case| case.prompt_ids.len()).expect("there are cases");
        let lengths = [90, 88, 30, 9, 1, 7, 8, 15, 16, 17, 31, 33, 5, 48, 12, 3];
        let mut rest = &longest.prompt_ids[..];
        let prompts = lengths.map(|len| {
            let (prompt, later) = rest.split_at(len);
            rest = later;
            prompt.to_vec()
        });
        Self { prompts: prompts.to_vec(), max_tokens: 16, num_warm_tokens: 33 }
    }

    /// One request for each prompt.
    pub(crate) fn asks(&self, num_prompts: usize) -> Vec<Ask> {
        self.prompts[..num_prompts].iter().map(|prompt| Ask::greedy(prompt, self.max_tokens)).collect()
    }

    /// What each prompt gives alone in an engine with room for everything, and no cache of prefixes.
    pub(crate) fn alone(&self, model: &TestModel) -> Vec<Choice> {
        let engine =
            TestEngine::start(model, &Knobs { prefix_caching: false, num_blocks: 64, ..Knobs::default() });
        let choices = self
            .asks(self.prompts.len())
            .into_iter()
            .map(|ask| engine.run(&[ask])[0].only().clone())
            .collect();
        let steps = engine.take_steps();
        assert_eq!((steps.max_rows(), steps.num_chunks()), (1, 0), "nothing disturbs");
        engine.stop();
        choices
    }
}
