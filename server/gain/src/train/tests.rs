//! Trainings on made-up logs.

use super::*;
use crate::random::Random;

/// Prompts on several topics: the strong model leads in law, the weak one in sums, and neither elsewhere.
fn examples(num: usize, seed: u64) -> Vec<Example> {
    let mut random = Random::new(seed, 0);
    let words = ["claim", "stone", "river", "number", "tall", "blue", "seven", "house", "court", "apple"];
    (0..num)
        .map(|_| {
            let topic = random.below(3);
            let lead =
                ["Under the statute, the defendant", "Add the sum of 12 and 35", "Describe the garden"]
                    [topic];
            let mut prompt = lead.to_owned();
            for _ in 0..5 + random.below(20) {
                prompt.push(' ');
                prompt.push_str(words[random.below(words.len())]);
            }
            let luck = random.below(10);
            let (weak_correct, strong_correct) = match topic {
                0 => (luck < 3, luck < 8),
                1 => (luck < 7, luck < 4),
                _ => (luck < 8, luck < 8),
            };
            Example { prompt, weak_correct, strong_correct }
        })
        .collect()
}

#[test]
fn learns_where_the_strong_model_leads() {
    let trained = train(&examples(600, 1), TrainSettings::default()).expect("enough examples");
    let gain = |prompt: &str| trained.model.gain(prompt);
    let law = gain("Under the statute, the defendant claims a stone house");
    let sum = gain("Add the sum of 12 and 35 and tell the number");
    let garden = gain("Describe the garden by the river with blue apples");
    assert!(law > 0.3 && sum < -0.1 && garden.abs() < 0.2, "{law} {garden} {sum}");
}

#[test]
fn held_out_scores_tell_what_new_examples_will_show() {
    let seen = examples(600, 1);
    let trained =
        train(&seen, TrainSettings { num_repeats: 2, ..TrainSettings::default() }).expect("enough examples");
    let fresh = examples(2000, 2);
    let scores: Vec<f32> = fresh.iter().map(|example| trained.model.gain(&example.prompt)).collect();
    let promised = crate::evaluate(&seen, &trained.held_out[1]).expect("there is a gap").apgr;
    let found = crate::evaluate(&fresh, &scores).expect("there is a gap").apgr;
    assert!((promised - found).abs() < 0.15, "held out {promised}, fresh {found}");
    let threshold = trained.model.threshold_for_share(0.3);
    let sent = scores.iter().filter(|&&score| score >= threshold).count() as f64 / 2000.0;
    assert!((sent - 0.3).abs() < 0.1, "{sent} were sent, 0.3 wanted");
}

#[test]
fn the_same_seed_gives_the_same_bytes() {
    let examples = examples(150, 3);
    let bytes = |seed| {
        let settings = TrainSettings { seed, ..TrainSettings::default() };
        train(&examples, settings).expect("enough examples").model.to_bytes()
    };
    assert!(bytes(5) == bytes(5), "two trainings differ");
    assert!(bytes(5) != bytes(6), "the seed changes nothing");
}

#[test]
fn equal_prompts_share_a_fold_and_folds_are_about_equally_full() {
    let mut doubled = examples(1000, 4);
    doubled.extend(doubled.clone());
    let folds = folds(doubled.iter(), 5, 9);
    assert_eq!(folds[..1000], folds[1000..]);
    for fold in 0..5 {
        let size = folds.iter().filter(|&&found| found == fold).count();
        assert!((300..500).contains(&size), "fold {fold} has {size}");
    }
}

#[test]
fn too_few_examples_are_refused() {
    let error = train(&examples(99, 1), TrainSettings::default()).expect_err("99 are too few");
    assert_eq!(error.to_string(), "99 examples were given, training takes 100 to 500000");
}

#[test]
fn examples_that_are_all_alike_give_a_model_all_the_same() {
    let alike = vec![Example { prompt: "same".to_owned(), weak_correct: true, strong_correct: true }; 120];
    let trained = train(&alike, TrainSettings::default()).expect("enough examples");
    assert!(trained.model.gain("anything").abs() < 1e-3);
}
