//! What kind of transformer a model is: the data that the one decoder is driven by.
//!
//! A spec holds only what the decoder computes. Whatever else a configuration asks for is refused where the spec is
//! made, in [`crate::arch`], so that no option can be read and then ignored.

use spillway_kernels::DType;

use crate::kv_cache::KvLayout;

/// The shape and the options of a decoder.
#[derive(Debug, Clone, PartialEq)]
pub struct DecoderSpec {
    /// The architecture's name, as GGUF writes it.
    pub architecture: &'static str,
    /// Transformer layers.
    pub num_layers: usize,
    /// Columns of the residual stream.
    pub hidden_size: usize,
    /// Query heads.
    pub num_heads: usize,
    /// Key and value heads; each serves `num_heads / num_kv_heads` query heads.
    pub num_kv_heads: usize,
    /// Columns of one head.
    pub head_dim: usize,
    /// Columns between the feed-forward products.
    pub ffn_size: usize,
    /// Tokens of the vocabulary: rows of the embedding and of the head.
    pub vocab_size: usize,
    /// Positions that the model was trained for.
    pub max_positions: usize,
    /// Added to the mean square in every norm.
    pub norm_eps: f32,
    /// Between the gate and the feed-forward's product.
    pub activation: Activation,
    /// How positions enter attention.
    pub rope: Rope,
    /// Whether the head is the embedding table.
    pub tied_head: bool,
}

/// The gate's function.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    /// `x * sigmoid(x)`.
    Silu,
}

/// Rotary position embedding over whole heads, the two halves of a head forming the pairs.
#[derive(Debug, Clone, PartialEq)]
pub struct Rope {
    /// Base of the wavelengths.
    pub theta: f32,
    /// How the frequencies were stretched for a longer context.
    pub scaling: RopeScaling,
}

/// A change to the rotary frequencies.
#[derive(Debug, Clone, PartialEq)]
pub enum RopeScaling {
    /// None.
    None,
    /// All frequencies are divided by one factor.
    Linear {
        /// The divisor.
        factor: f32,
    },
    /// Llama 3.1's: long wavelengths are stretched, short ones kept, and those between interpolated.
    Llama3 {
        /// Divisor of the low frequencies.
        factor: f32,
        /// Wavelengths longer than `original_max_positions / low_freq_factor` are divided in full.
        low_freq_factor: f32,
        /// Wavelengths shorter than `original_max_positions / high_freq_factor` are kept.
        high_freq_factor: f32,
        /// Positions before the stretching.
        original_max_positions: f32,
    },
    /// Each frequency has a divisor of its own: `[head_dim / 2]`, as GGUF's `rope_freqs.weight` lists them.
    Divisors(Vec<f32>),
}

impl DecoderSpec {
    /// Columns of the query part of a fused qkv product.
    pub fn q_size(&self) -> usize {
        self.num_heads * self.head_dim
    }

    /// Columns of the key part, and of the value part, of a fused qkv product.
    pub fn kv_size(&self) -> usize {
        self.num_kv_heads * self.head_dim
    }

    /// The KV cache that this model needs, with elements of `dtype`.
    pub fn kv_layout(&self, dtype: DType) -> KvLayout {
        KvLayout {
            num_layers: self.num_layers,
            num_kv_heads: self.num_kv_heads,
            head_dim: self.head_dim,
            dtype,
        }
    }

    /// Numbers in all weights: `None` if the shape is too large for this machine's words.
    pub fn num_parameters(&self) -> Option<usize> {
        let attention = self.q_size().checked_mul(2)?.checked_add(self.kv_size().checked_mul(2)?)?;
        let per_layer = attention
            .checked_add(self.ffn_size.checked_mul(3)?)?
            .checked_add(2)?
            .checked_mul(self.hidden_size)?;
        let tables = if self.tied_head { 1 } else { 2 };
        per_layer
            .checked_mul(self.num_layers)?
            .checked_add(self.vocab_size.checked_mul(self.hidden_size)?.checked_mul(tables)?)?
            .checked_add(self.hidden_size)
    }

    /// What is wrong with the numbers taken together, in words.
    pub(crate) fn problem(&self) -> Option<String> {
        for (name, value) in [
            ("layers", self.num_layers),
            ("hidden size", self.hidden_size),
            ("heads", self.num_heads),
            ("KV heads", self.num_kv_heads),
            ("head dimension", self.head_dim),
            ("feed-forward size", self.ffn_size),
            ("vocabulary size", self.vocab_size),
            ("position limit", self.max_positions),
        ] {
            if value == 0 || value > i32::MAX as usize {
                return Some(format!("{name} is {value}, must be from 1 to {}", i32::MAX));
            }
        }
        if !self.num_heads.is_multiple_of(self.num_kv_heads) {
            return Some(format!(
                "{} heads do not share {} KV heads evenly",
                self.num_heads, self.num_kv_heads
            ));
        }
        if !self.head_dim.is_multiple_of(2) {
            return Some(format!("head dimension is {}, must be even", self.head_dim));
        }
        if !(self.norm_eps > 0.0 && self.norm_eps < 1.0) {
            return Some(format!("norm epsilon is {}, must be between 0 and 1", self.norm_eps));
        }
        if self.num_parameters().is_none() {
            return Some("its weights are more than this machine can count".to_owned());
        }
        self.rope.problem(self.head_dim)
    }
}

impl Rope {
    /// The angle by which each pair of columns turns from one position to the next: `[head_dim / 2]`.
    ///
    /// Rounded to f32 step by step as the reference does it: at position 3,000 another order of the same operations
    /// would turn a head by a visible angle.
    pub fn inverse_frequencies(&self, head_dim: usize) -> Vec<f32> {
        let plain = (0..head_dim / 2).map(|pair_idx| {
            let exponent = (2 * pair_idx) as f32 / head_dim as f32;
            1.0 / (f64::from(self.theta).powf(f64::from(exponent)) as f32)
        });
        match &self.scaling {
            RopeScaling::None => plain.collect(),
            RopeScaling::Linear { factor } => plain.map(|frequency| frequency / factor).collect(),
            RopeScaling::Divisors(divisors) => {
                plain.zip(divisors).map(|(frequency, divisor)| frequency / divisor).collect()
            }
            RopeScaling::Llama3 { factor, low_freq_factor, high_freq_factor, original_max_positions } => {
                plain
                    .map(|frequency| {
                        let wavelength = 2.0 * std::f32::consts::PI / frequency;
                        if wavelength < original_max_positions / high_freq_factor {
                            frequency
                        } else if wavelength > original_max_positions / low_freq_factor {
                            frequency / factor
                        } else {
                            let smooth = (original_max_positions / wavelength - low_freq_factor)
                                / (high_freq_factor - low_freq_factor);
                            (1.0 - smooth) * frequency / factor + smooth * frequency
                        }
                    })
                    .collect()
            }
        }
    }

    fn problem(&self, head_dim: usize) -> Option<String> {
        let positive = |name: &str, value: f32| {
            let fine = value.is_finite() && value > 0.0;
            (!fine).then(|| format!("{name} of the rotary embedding is {value}, must be positive"))
        };
        if let Some(problem) = positive("theta", self.theta) {
            return Some(problem);
        }
        match &self.scaling {
            RopeScaling::None => None,
            RopeScaling::Linear { factor } => positive("factor", *factor),
            RopeScaling::Llama3 { factor, low_freq_factor, high_freq_factor, original_max_positions } => {
                let ordered = (low_freq_factor >= high_freq_factor).then(|| {
                    format!(
                        "low_freq_factor {low_freq_factor} is not below high_freq_factor {high_freq_factor}"
                    )
                });
                positive("factor", *factor)
                    .or_else(|| positive("low_freq_factor", *low_freq_factor))
                    .or_else(|| positive("original_max_position_embeddings", *original_max_positions))
                    .or(ordered)
            }
            RopeScaling::Divisors(divisors) if divisors.len() != head_dim / 2 => {
                Some(format!("{} rotary divisors for heads of {head_dim} columns", divisors.len()))
            }
            RopeScaling::Divisors(divisors) => divisors.iter().find_map(|&value| positive("divisor", value)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn llama3() -> RopeScaling {
        RopeScaling::Llama3 {
            factor: 8.0,
            low_freq_factor: 1.0,
            high_freq_factor: 4.0,
            original_max_positions: 8192.0,
        }
    }

    #[test]
    fn llama3_scaling_keeps_short_wavelengths_and_stretches_long_ones() {
        let plain = Rope { theta: 500_000.0, scaling: RopeScaling::None }.inverse_frequencies(128);
        let scaled = Rope { theta: 500_000.0, scaling: llama3() }.inverse_frequencies(128);
        assert_eq!(plain[0].to_bits(), 1.0_f32.to_bits());
        assert_eq!(scaled[0].to_bits(), plain[0].to_bits());
        assert_eq!(scaled[63].to_bits(), (plain[63] / 8.0).to_bits());
        let between: Vec<f32> = scaled.iter().zip(&plain).map(|(scaled, plain)| plain / scaled).collect();
        assert!(
            between.is_sorted_by(|a, b| *a <= b * 1.0001),
            "divisors rise with the wavelength: {between:?}"
        );
    }

    #[test]
    fn listed_divisors_and_a_linear_factor_divide_each_frequency() {
        let rope = |scaling| Rope { theta: 10_000.0, scaling }.inverse_frequencies(4);
        assert_eq!(rope(RopeScaling::None), [1.0, 0.01]);
        assert_eq!(rope(RopeScaling::Linear { factor: 2.0 }), [0.5, 0.005]);
        assert_eq!(rope(RopeScaling::Divisors(vec![1.0, 4.0])), [1.0, 0.0025]);
    }

    #[test]
    fn wrong_rotary_numbers_are_named() {
        let problem = |scaling| Rope { theta: 1e4, scaling }.problem(4).unwrap_or_default();
        assert!(problem(RopeScaling::Linear { factor: 0.0 }).contains("factor of the rotary embedding is 0"));
        assert!(problem(RopeScaling::Divisors(vec![1.0])).contains("1 rotary divisors for heads of 4"));
        assert_eq!(problem(llama3()), "");
    }
}
