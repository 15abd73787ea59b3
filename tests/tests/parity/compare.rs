//! What counts as equal to the reference.

use spillway_tests::{Ask, Choice, Knobs, ParityCase, TestEngine, TestModel};

/// Logits may differ by this part of the largest magnitude.
const MAX_RELATIVE_ERROR: f32 = 1e-3;
/// Log-probabilities may differ by this much.
const MAX_LOGPROB_ERROR: f32 = 1e-2;

/// Serves all prompts at once, as tokens' text, and compares everything with the reference.
pub(crate) fn check_cases(model: &TestModel, knobs: &Knobs, cases: &[ParityCase]) {
    let engine = TestEngine::start(model, knobs);
    for case in cases {
        let ids = engine.handle().tokenize(&case.prompt).expect("the prompt can be tokenised");
        let ids: Vec<u32> = ids.iter().map(|id| id.0).collect();
        assert_eq!(ids, case.prompt_ids, "{}", case.name);
    }
    let asks: Vec<Ask> =
        cases.iter().map(|case| Ask::of(case.prompt.clone(), case.tokens.len() as u32)).collect();
    let answers = engine.run(&asks);
    let logits = engine.take_first_logits();
    engine.stop();
    assert_eq!(logits.len(), cases.len());
    for ((case, answer), logits) in cases.iter().zip(&answers).zip(&logits) {
        assert_eq!(answer.usage.prompt_tokens as usize, case.prompt_ids.len(), "{}", case.name);
        let error = check_logits(case, logits);
        check_tokens(case, answer.only(), error);
    }
}

/// Holds logits to the reference, and gives the largest difference.
fn check_logits(case: &ParityCase, logits: &[f32]) -> f32 {
    let sample: Vec<f32> = logits.iter().step_by(case.logits.every).copied().collect();
    assert_eq!(sample.len(), case.logits.values.len(), "{}", case.name);
    let largest = case.logits.max_abs;
    let error = largest_difference(&sample, &case.logits.values);
    println!("{}: largest error of the logits {:.2e} of {largest}", case.name, error / largest);
    assert!(error <= MAX_RELATIVE_ERROR * largest, "{}: logits differ by {error} of {largest}", case.name);
    error
}

/// Holds tokens to the reference up to the first difference, which must be at a step where the reference's lead was
/// below twice the error of the logits.
pub(crate) fn check_tokens(case: &ParityCase, choice: &Choice, logits_error: f32) {
    assert_eq!(choice.tokens.len(), case.tokens.len(), "{}", case.name);
    let first_difference = (0..case.tokens.len()).find(|&step| choice.tokens[step] != case.tokens[step]);
    if let Some(step) = first_difference {
        let margin = case.margins[step];
        assert!(
            margin < 2.0 * logits_error,
            "{}: token {step} is {}, expected {}, by a margin of {margin} (error {logits_error})",
            case.name,
            choice.tokens[step],
            case.tokens[step],
        );
        println!("{}: token {step} differs, within the error", case.name);
    }
    let num_equal = first_difference.unwrap_or(case.tokens.len());
    let error = largest_difference(&choice.logprobs[..num_equal], &case.logprobs[..num_equal]);
    assert!(error <= MAX_LOGPROB_ERROR, "{}: log-probabilities differ by {error}", case.name);
}

pub(crate) fn largest_difference(ours: &[f32], theirs: &[f32]) -> f32 {
    // NaN must not pass for equal, as it would with `max`.
    assert_eq!(ours.len(), theirs.len());
    let differences = ours.iter().zip(theirs).map(|(ours, theirs)| (ours - theirs).abs());
    differences.fold(
        0.0,
        |largest: f32, difference| {
            if largest.is_nan() || difference <= largest { largest } else { difference }
        },
    )
}
