//! How good a ranking of prompts is: what share of the strong model's lead it recovers for what share of strong calls.
//!
//! Prompts are sent to the strong model in order of score, highest first. The curve is accuracy against the share sent.
//! Prompts of equal score are sent in random order, and the curve is the mean over those orders: a constant score is
//! exactly as good as chance.
//!
//! Source: Ong et al., "`RouteLLM`: Learning to Route LLMs with Preference Data", 2024.

use serde::Serialize;

use crate::error::GainError;
use crate::example::Example;

/// The figures of one ranking on one set of examples.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Evaluation {
    /// Average performance gap recovered: the area between the curve and the weak model's accuracy, over the gap. Chance is 0.5.
    pub apgr: f64,
    /// The smallest share of strong calls, 0 to 1, that recovers half of the gap.
    pub cpt50: f64,
    /// The smallest share of strong calls, 0 to 1, that recovers four fifths of the gap.
    pub cpt80: f64,
    /// Share of prompts that the weak model gets right.
    pub weak_accuracy: f64,
    /// Share of prompts that the strong model gets right.
    pub strong_accuracy: f64,
    /// Prompts judged.
    pub num: usize,
}

/// Judges `scores`, one for each of `examples`; a higher score is sent to the strong model earlier.
///
/// # Errors
///
/// [`GainError::Scores`] unless there is one finite score an example, [`GainError::NoGap`] where the strong model does not lead.
pub fn evaluate(examples: &[Example], scores: &[f32]) -> Result<Evaluation, GainError> {
    let num = examples.len();
    let num_scores = scores.iter().filter(|score| score.is_finite()).count();
    if num_scores != num || scores.len() != num {
        return Err(GainError::Scores { num_scores, num_examples: num });
    }
    let weak = examples.iter().filter(|example| example.weak_correct).count();
    let strong = examples.iter().filter(|example| example.strong_correct).count();
    if strong <= weak {
        return Err(GainError::NoGap { weak, strong, num });
    }
    let recovered = recovered_by_calls(examples, scores, (strong - weak) as f64);
    let inner: f64 = recovered[..num - 1].iter().sum();
    Ok(Evaluation {
        // Trapezes over `num + 1` points, of which the first is 0 and the last 1.
        apgr: (inner + 0.5) / num as f64,
        cpt50: share_for(&recovered, 0.5),
        cpt80: share_for(&recovered, 0.8),
        weak_accuracy: weak as f64 / num as f64,
        strong_accuracy: strong as f64 / num as f64,
        num,
    })
}

/// The expected figures of sending prompts at random.
///
/// # Errors
///
/// As [`evaluate`].
pub fn evaluate_random(examples: &[Example]) -> Result<Evaluation, GainError> {
    evaluate(examples, &vec![0.0; examples.len()])
}

/// The figures of sending the longest prompts first.
///
/// # Errors
///
/// As [`evaluate`].
pub fn evaluate_length(examples: &[Example]) -> Result<Evaluation, GainError> {
    let scores: Vec<f32> = examples.iter().map(|example| example.prompt.len() as f32).collect();
    evaluate(examples, &scores)
}

/// The figures of knowing who will be right: no router can be better.
///
/// # Errors
///
/// As [`evaluate`].
pub fn evaluate_oracle(examples: &[Example]) -> Result<Evaluation, GainError> {
    let scores: Vec<f32> = examples.iter().map(|example| f32::from(example.gain())).collect();
    evaluate(examples, &scores)
}

/// The share of the gap that is recovered after 1, 2, .. strong calls.
fn recovered_by_calls(examples: &[Example], scores: &[f32], gap: f64) -> Vec<f64> {
    // Adding zero makes a negative zero positive: the two are one score.
    let scores: Vec<f32> = scores.iter().map(|score| score + 0.0).collect();
    let mut order: Vec<usize> = (0..examples.len()).collect();
    order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]));
    let mut recovered = Vec::with_capacity(order.len());
    let mut gained = 0.0;
    for tied in order.chunk_by(|&a, &b| scores[a].total_cmp(&scores[b]).is_eq()) {
        let sum: i64 = tied.iter().map(|&idx| i64::from(examples[idx].gain())).sum();
        for call in 1..=tied.len() {
            recovered.push((gained + sum as f64 * (call as f64 / tied.len() as f64)) / gap);
        }
        gained += sum as f64;
    }
    recovered
}

fn share_for(recovered: &[f64], wanted: f64) -> f64 {
    // Sums of tied groups are rounded; a goal missed by rounding alone is reached.
    let reached = recovered.iter().position(|&share| share >= wanted - 1e-9);
    let num_calls = reached.map_or(recovered.len(), |call_idx| call_idx + 1);
    num_calls as f64 / recovered.len() as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One example a letter: `+` only strong is right, `-` only weak, `=` both.
    fn examples(letters: &str) -> Vec<Example> {
        let example = |(idx, letter): (usize, char)| Example {
            prompt: "x".repeat(idx + 1),
            weak_correct: letter != '+',
            strong_correct: letter != '-',
        };
        letters.chars().enumerate().map(example).collect()
    }

    fn close(found: f64, expected: f64) -> bool {
        (found - expected).abs() < 1e-9
    }

    #[test]
    fn a_hand_made_ranking_has_the_figures_worked_out_by_hand() {
        // Recovered of a gap of 2 after each call: 1/2, 1, 1/2, 1, 1.
        let found = evaluate(&examples("++-+="), &[5.0, 4.0, 3.0, 2.0, 1.0]).expect("there is a gap");
        assert!(close(found.apgr, (0.5 + 1.0 + 0.5 + 1.0 + 0.5) / 5.0), "{found:?}");
        assert!(close(found.cpt50, 0.2) && close(found.cpt80, 0.4), "{found:?}");
        assert!(close(found.weak_accuracy, 0.4) && close(found.strong_accuracy, 0.8), "{found:?}");
    }

    #[test]
    fn ties_are_as_good_as_chance_in_whatever_order_they_stand() {
        for letters in ["++--=+====", "==--==++=+"] {
            let found = evaluate_random(&examples(letters)).expect("there is a gap");
            assert!(close(found.apgr, 0.5), "{found:?}");
            assert!(close(found.cpt50, 0.5) && close(found.cpt80, 0.8), "{found:?}");
        }
    }

    #[test]
    fn the_oracle_sends_gains_first_and_losses_last() {
        let found = evaluate_oracle(&examples("=-+=+")).expect("there is a gap");
        assert!(close(found.cpt50, 0.2) && close(found.cpt80, 0.2), "{found:?}");
        assert!(close(found.apgr, (1.0 + 2.0 + 2.0 + 2.0 + 0.5) / 5.0), "{found:?}");
    }

    #[test]
    fn the_longest_prompt_goes_first() {
        let found = evaluate_length(&examples("===+")).expect("there is a gap");
        assert!(close(found.cpt80, 0.25), "{found:?}");
    }

    #[test]
    fn refuses_what_has_no_gap_or_other_scores() {
        assert!(matches!(
            evaluate_random(&examples("=-+")),
            Err(GainError::NoGap { weak: 2, strong: 2, num: 3 })
        ));
        assert!(matches!(evaluate_random(&[]), Err(GainError::NoGap { .. })));
        assert!(matches!(
            evaluate(&examples("+"), &[]),
            Err(GainError::Scores { num_scores: 0, num_examples: 1 })
        ));
        assert!(evaluate(&examples("+"), &[f32::NAN]).is_err());
    }
}
