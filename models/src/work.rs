//! What a step must read and compute at least: the floor under every time that is measured.
//!
//! The one place where bytes and operations of a step are counted; `spillway bench` tells them with its figures, and the
//! report of a GPU divides them by the rates that it measured. What is counted is what no implementation can save: each
//! weight read once a step, each key and value that a token sees read once for its sequence, each product of the linear
//! layers and of attention, the last logits only for rows that need them. Activations, norms, sampling and writes to the cache
//! are left out; together they are below a hundredth.
//!
//! # Deliberately absent
//!
//! Mixtures of experts: how many of their weights a step reads depends on which experts its tokens choose.

use serde::{Deserialize, Serialize};
use spillway_kernels::DeviceRates;

use crate::kv_cache::KvLayout;
use crate::load::LoadedModel;
use crate::spec::{DecoderSpec, FeedForward};

/// What one model asks of a step, whatever its rows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelWork {
    /// Weights that each step reads whole: all but a table that is only looked up.
    pub weight_bytes: u64,
    /// Multiplications and additions of the layers' products, for one token.
    pub layer_operations: u64,
    /// Of the last product, for one row of logits.
    pub head_operations: u64,
    /// Of attention, for one query and one key it sees, in one layer.
    pub key_operations: u64,
    /// Keys and values of one token in one layer.
    pub key_bytes: u64,
    /// How far the layers see.
    pub windows: Vec<LayersWithWindow>,
}

/// Layers that see equally far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayersWithWindow {
    /// How many they are.
    pub num_layers: u64,
    /// Positions that a token sees, its own included; absent for all before it.
    pub window: Option<u64>,
}

/// What a step must do at least.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepWork {
    /// Bytes read from memory.
    pub bytes: u64,
    /// Multiplications and additions.
    pub operations: u64,
}

impl StepWork {
    /// Seconds that a device of these rates needs at least.
    pub fn floor_s(self, rates: DeviceRates) -> f64 {
        rates.floor_s(self.bytes as f64, self.operations as f64)
    }
}

impl ModelWork {
    /// What a loaded model asks for; nothing is said of a mixture of experts.
    pub fn of(loaded: &LoadedModel) -> Option<Self> {
        Self::new(&loaded.spec, &loaded.kv_layout, loaded.summary.streamed_bytes)
    }

    fn new(spec: &DecoderSpec, kv: &KvLayout, weight_bytes: u64) -> Option<Self> {
        let hidden = spec.hidden_size;
        let mut layer_weights = 0;
        let mut windows: Vec<LayersWithWindow> = Vec::new();
        for layer in &spec.layers {
            let FeedForward::Dense { size } = layer.feed_forward else { return None };
            layer_weights += hidden * (2 * spec.q_size() + 2 * spec.kv_size() + 3 * size);
            let window = layer.window.map(|window| window.get() as u64);
            match windows.iter_mut().find(|known| known.window == window) {
                Some(known) => known.num_layers += 1,
                None => windows.push(LayersWithWindow { num_layers: 1, window }),
            }
        }
        // The same for an executor that keeps a cache of its own, whose layout has no layers.
        let one_layer = KvLayout { num_layers: 1, ..*kv };
        Some(Self {
            weight_bytes,
            layer_operations: 2 * layer_weights as u64,
            head_operations: 2 * (hidden * spec.vocab_size) as u64,
            // A product with the key, and one with the value.
            key_operations: 4 * spec.q_size() as u64,
            key_bytes: one_layer.bytes_per_token(),
            windows,
        })
    }

    /// A step that gives each of `rows` sequences its next token, at `context` tokens with it.
    pub fn decode(&self, rows: u64, context: u64) -> StepWork {
        let keys = self.seen(context, |window| window.min(context));
        StepWork {
            bytes: self.weight_bytes + rows * keys * self.key_bytes,
            operations: rows * (self.layer_operations + self.head_operations + keys * self.key_operations),
        }
    }

    /// Steps that compute the prompts of `rows` sequences, of `tokens` tokens each, and their first tokens.
    pub fn prefill(&self, rows: u64, tokens: u64) -> StepWork {
        // Token t sees t keys, but no more than the window.
        let triangle = |side: u64| side * (side + 1) / 2;
        let keys = self.seen(triangle(tokens), |window| {
            let rising = window.min(tokens);
            triangle(rising) + (tokens - rising) * window
        });
        let per_row = tokens * self.layer_operations + self.head_operations + keys * self.key_operations;
        StepWork { bytes: self.weight_bytes, operations: rows * per_row }
    }

    /// What each request of `clients` at once asks for, prompt and answer together: the weights that a step reads are
    /// shared by all of them, and prompts are computed while other sequences' keys are read.
    pub fn request(&self, clients: u64, prompt: u64, answer: u64) -> StepWork {
        let step = self.decode(clients, prompt + answer / 2);
        let per_token = |of_step: u64| of_step / clients.max(1);
        StepWork {
            bytes: answer * per_token(step.bytes),
            operations: self.prefill(1, prompt).operations + answer * per_token(step.operations),
        }
    }

    /// Keys seen in all layers together.
    fn seen(&self, unlimited: u64, limited: impl Fn(u64) -> u64) -> u64 {
        self.windows.iter().map(|layers| layers.num_layers * layers.window.map_or(unlimited, &limited)).sum()
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;

    use spillway_kernels::DType;

    use super::*;
    use crate::spec::tests::small_spec;
    use crate::spec::{ExpertWeighting, LayerSpec};

    /// Goal: the figures of the published arithmetic. Method: Llama-3.1-8B in bf16, whose floor at 3.35 TB/s is well known.
    #[test]
    fn an_8b_model_has_the_floor_that_everybody_computes() {
        let spec = DecoderSpec {
            hidden_size: 4096,
            num_heads: 32,
            num_kv_heads: 8,
            head_dim: 128,
            vocab_size: 128_256,
            layers: vec![LayerSpec::plain(14_336); 32],
            ..small_spec()
        };
        let streamed = 2 * (spec.num_parameters().expect("it is small") - 128_256 * 4096) as u64;
        let work = ModelWork::new(&spec, &spec.kv_layout(DType::BF16), streamed).expect("it is dense");
        let rates = DeviceRates { bytes_per_s: 3.35e12, operations_per_s: 989e12 };
        let tokens_per_s = 1.0 / work.decode(1, 1024).floor_s(rates);
        assert!((220.0..222.0).contains(&tokens_per_s), "{tokens_per_s}");
        let many = 128.0 / work.decode(128, 1024).floor_s(rates);
        assert!((13_200.0..13_400.0).contains(&many), "{many}");
        // 13.96 GFLOP a token without the head.
        assert_eq!(work.layer_operations / 10_000_000, 1395);
        let prefill = 1024.0 / work.prefill(1, 1024).floor_s(rates);
        assert!((68_500.0..70_500.0).contains(&prefill), "{prefill}");
    }

    #[test]
    fn prompts_are_the_sum_of_their_tokens_and_windows_bound_what_they_see() {
        let mut spec = small_spec();
        spec.layers[1].window = NonZeroUsize::new(3);
        let work = ModelWork::new(&spec, &spec.kv_layout(DType::F32), 1000).expect("it is dense");
        assert_eq!(work.windows.len(), 2);
        let attention = |step: StepWork, tokens: u64| {
            step.operations - tokens * work.layer_operations - work.head_operations
        };
        let token_by_token: u64 = (1..=10).map(|context| attention(work.decode(1, context), 1)).sum();
        assert_eq!(attention(work.prefill(1, 10), 10), token_by_token);
        // Two of 2 KV heads of 16 columns in f32, for keys and values.
        assert_eq!(work.decode(4, 10).bytes, 1000 + 4 * (10 + 3) * 2 * 2 * 16 * 4);
        assert_eq!(work.decode(4, 2).bytes, 1000 + 4 * (2 + 2) * 2 * 2 * 16 * 4);
    }

    #[test]
    fn of_a_mixture_nothing_is_said() {
        let mut spec = small_spec();
        spec.layers[1].feed_forward = FeedForward::Experts {
            num_experts: 8,
            num_active: 2,
            size: 96,
            weighting: ExpertWeighting::OfChosen,
        };
        assert_eq!(ModelWork::new(&spec, &spec.kv_layout(DType::F32), 1000), None);
    }
}
