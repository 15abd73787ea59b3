//! The model that is part of the program: it loads, and says sane things about prompts unlike those it learned from.

use spillway_gain::GainModel;

#[test]
fn is_small_and_comes_back_from_its_bytes() {
    let model = GainModel::shipped();
    let bytes = model.to_bytes();
    assert!(bytes.len() < 4_000_000, "{} bytes", bytes.len());
    assert_eq!(GainModel::from_bytes(&bytes).expect("the bytes are whole"), model);
}

#[test]
fn any_prompt_gets_a_gain_that_can_be_true() {
    let model = GainModel::shipped();
    let long = "the same words again and again, ".repeat(50_000);
    let prompts = [
        "",
        "hi",
        "\u{0}\u{1f600}\u{1f600}",
        "Write a Rust function that merges two sorted lists.",
        "Fasse den folgenden Text in zwei Sätzen zusammen: Der Wald ist grün.",
        "请把这句话翻译成英文：今天天气很好。",
        "SELECT name FROM users WHERE id = 3; -- why is this slow?",
        &long,
    ];
    for prompt in prompts {
        let gain = model.gain(prompt);
        assert!((-0.3..0.6).contains(&gain), "{prompt:.40}: {gain}");
    }
}

#[test]
fn tells_apart_what_the_strong_model_is_known_to_be_better_at() {
    let model = GainModel::shipped();
    let easy = model.gain("What is the capital of France?\nA. Paris\nB. Rome\nC. Madrid\nD. Bern\nAnswer:");
    let hard = model.gain(
        "For which of these two scenarios does the main character (who uses I/me/my) clearly do something morally wrong? \
         Scenario 1 | I told my neighbor that her dog had run away, though I had let it out. Scenario 2 | I carried the \
         groceries of an old man up to his door.\nA. Wrong, Wrong\nB. Wrong, Not wrong\nC. Not wrong, Wrong\nD. Not wrong, \
         Not wrong\nAnswer:",
    );
    assert!(hard > easy + 0.05, "easy {easy}, hard {hard}");
    let [quarter, half] = [0.25, 0.5].map(|share| model.threshold_for_share(share));
    assert!(hard > quarter && easy < half, "easy {easy}, hard {hard}, thresholds {quarter} and {half}");
}

#[test]
fn a_greater_share_has_a_lower_threshold_and_own_scores_move_it() {
    let mut model = GainModel::shipped();
    let thresholds = [0.0, 0.05, 0.2, 0.5, 0.9, 1.0].map(|share| model.threshold_for_share(share));
    assert!(thresholds.windows(2).all(|pair| pair[0] > pair[1]), "{thresholds:?}");
    model.calibrate(&[0.5, 0.6, f32::NAN, 0.7]);
    assert!(model.threshold_for_share(0.5) >= 0.5);
    let before = model.threshold_for_share(0.5);
    model.calibrate(&[f32::INFINITY]);
    assert!(model.threshold_for_share(0.5).to_bits() == before.to_bits(), "nothing finite was given");
}
