//! Rotary position embedding as data: base, scaling, and the frequencies that come of them.

/// Rotary position embedding of one kind of layer; the two halves of the columns that turn form the pairs.
#[derive(Debug, Clone, PartialEq)]
pub struct Rope {
    /// Base of the wavelengths.
    pub theta: f32,
    /// The first columns of a head, which turn; the others stay.
    pub rotary_dim: usize,
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
    /// Each frequency has a divisor of its own: `[rotary_dim / 2]`, as GGUF's `rope_freqs.weight` lists them.
    Divisors(Vec<f32>),
    /// Phi-3's, with two lists of divisors: one for short contexts and one for long ones.
    ///
    /// A model is loaded for one of them, by the longest sequence that it will serve. To choose by each sequence's
    /// length, as transformers does, would turn the keys that are in the cache by other angles than those that follow.
    ///
    /// Source: Ding et al., "`LongRoPE`: Extending LLM Context Window Beyond 2 Million Tokens", 2024.
    Long {
        /// Divisors if no sequence is longer than `original_max_positions`: `[rotary_dim / 2]`.
        short: Vec<f32>,
        /// Divisors if one may be: `[rotary_dim / 2]`.
        long: Vec<f32>,
        /// Positions before the stretching.
        original_max_positions: usize,
        /// What cosines and sines are multiplied with.
        attention_factor: f32,
    },
}

impl Rope {
    /// The angle by which each pair of columns turns from one position to the next, if no sequence is longer than
    /// `max_model_len`: `[rotary_dim / 2]`.
    ///
    /// Rounded to f32 step by step as the reference does it: at position 3,000 another order of the same operations
    /// would turn a head by a visible angle.
    pub fn inverse_frequencies(&self, max_model_len: usize) -> Vec<f32> {
        let wavelengths = (0..self.rotary_dim / 2).map(|pair_idx| {
            let exponent = (2 * pair_idx) as f32 / self.rotary_dim as f32;
            f64::from(self.theta).powf(f64::from(exponent)) as f32
        });
        let plain = wavelengths.clone().map(|wavelength| 1.0 / wavelength);
        match &self.scaling {
            RopeScaling::None => plain.collect(),
            RopeScaling::Linear { factor } => plain.map(|frequency| frequency / factor).collect(),
            RopeScaling::Divisors(divisors) => {
                plain.zip(divisors).map(|(frequency, divisor)| frequency / divisor).collect()
            }
            RopeScaling::Long { short, long, original_max_positions, .. } => {
                let divisors = if max_model_len > *original_max_positions { long } else { short };
                divisors
                    .iter()
                    .zip(wavelengths)
                    .map(|(divisor, wavelength)| 1.0 / (divisor * wavelength))
                    .collect()
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

    /// What cosines and sines are multiplied with.
    pub fn attention_factor(&self) -> f32 {
        match self.scaling {
            RopeScaling::Long { attention_factor, .. } => attention_factor,
            RopeScaling::None
            | RopeScaling::Linear { .. }
            | RopeScaling::Llama3 { .. }
            | RopeScaling::Divisors(_) => 1.0,
        }
    }

    /// What is wrong with the numbers for heads of `head_dim` columns, in words.
    pub(super) fn problem(&self, head_dim: usize) -> Option<String> {
        let rotary_dim = self.rotary_dim;
        if rotary_dim == 0 || rotary_dim > head_dim || !rotary_dim.is_multiple_of(2) {
            return Some(format!("{rotary_dim} rotary columns, must be even and from 2 to {head_dim}"));
        }
        positive("theta", self.theta).or_else(|| self.scaling.problem(rotary_dim / 2))
    }
}

impl RopeScaling {
    fn problem(&self, num_pairs: usize) -> Option<String> {
        match self {
            Self::None => None,
            Self::Linear { factor } => positive("factor", *factor),
            Self::Llama3 { factor, low_freq_factor, high_freq_factor, original_max_positions } => {
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
            Self::Divisors(divisors) => problem_of_divisors(divisors, num_pairs),
            Self::Long { short, long, attention_factor, .. } => problem_of_divisors(short, num_pairs)
                .or_else(|| problem_of_divisors(long, num_pairs))
                .or_else(|| positive("attention factor", *attention_factor)),
        }
    }
}

fn problem_of_divisors(divisors: &[f32], num_pairs: usize) -> Option<String> {
    if divisors.len() != num_pairs {
        return Some(format!("{} rotary divisors for {num_pairs} pairs of columns", divisors.len()));
    }
    divisors.iter().find_map(|&value| positive("divisor", value))
}

fn positive(name: &str, value: f32) -> Option<String> {
    let fine = value.is_finite() && value > 0.0;
    (!fine).then(|| format!("{name} of the rotary embedding is {value}, must be positive"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rope(theta: f32, rotary_dim: usize, scaling: RopeScaling) -> Rope {
        Rope { theta, rotary_dim, scaling }
    }

    fn llama3() -> RopeScaling {
        RopeScaling::Llama3 {
            factor: 8.0,
            low_freq_factor: 1.0,
            high_freq_factor: 4.0,
            original_max_positions: 8192.0,
        }
    }

    fn long() -> RopeScaling {
        RopeScaling::Long {
            short: vec![1.0, 2.0],
            long: vec![4.0, 8.0],
            original_max_positions: 64,
            attention_factor: 1.25,
        }
    }

    #[test]
    fn llama3_scaling_keeps_short_wavelengths_and_stretches_long_ones() {
        let plain = rope(500_000.0, 128, RopeScaling::None).inverse_frequencies(1);
        let scaled = rope(500_000.0, 128, llama3()).inverse_frequencies(1);
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
        let rope = |scaling| rope(10_000.0, 4, scaling).inverse_frequencies(1);
        assert_eq!(rope(RopeScaling::None), [1.0, 0.01]);
        assert_eq!(rope(RopeScaling::Linear { factor: 2.0 }), [0.5, 0.005]);
        assert_eq!(rope(RopeScaling::Divisors(vec![1.0, 4.0])), [1.0, 0.0025]);
    }

    #[test]
    fn long_scaling_chooses_its_divisors_by_the_longest_sequence() {
        let rope = rope(10_000.0, 4, long());
        assert_eq!(rope.inverse_frequencies(64), [1.0, 0.005]);
        assert_eq!(rope.inverse_frequencies(65), [0.25, 0.00125]);
        assert_eq!(rope.attention_factor().to_bits(), 1.25_f32.to_bits());
    }

    #[test]
    fn wrong_rotary_numbers_are_named() {
        let problem = |scaling| rope(1e4, 4, scaling).problem(4).unwrap_or_default();
        assert!(problem(RopeScaling::Linear { factor: 0.0 }).contains("factor of the rotary embedding is 0"));
        assert!(problem(RopeScaling::Divisors(vec![1.0])).contains("1 rotary divisors for 2 pairs"));
        assert_eq!(problem(llama3()), "");
        assert_eq!(problem(long()), "");
        let wide = rope(1e4, 6, RopeScaling::None).problem(4).unwrap_or_default();
        assert_eq!(wide, "6 rotary columns, must be even and from 2 to 4");
    }
}
