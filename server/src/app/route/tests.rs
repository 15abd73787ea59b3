//! A log is trained on and judged.

use std::fmt::Write;

use super::*;

/// A log where only the strong model knows the law.
fn log(folder: &Path, num: usize) -> PathBuf {
    let mut text = String::new();
    for idx in 0..num {
        let is_law = idx % 3 == 0;
        let topic = if is_law { "Under the statute, may the seller claim" } else { "Describe the garden of" };
        let _ = writeln!(
            text,
            "{{\"prompt\": \"{topic} {idx}?\", \"weak_correct\": {}, \"strong_correct\": true, \"id\": {idx}}}",
            !is_law
        );
    }
    let path = folder.join("log.jsonl");
    fs::write(&path, text).expect("the folder can be written");
    path
}

#[test]
fn a_model_trained_on_a_log_is_written_and_judged() {
    let folder = tempfile::tempdir().expect("a folder");
    let logs = vec![log(folder.path(), 150)];
    let out = folder.path().join("gain.bin");
    let options = RouteTrain { out: out.clone(), seed: 1, repeats: 2, logs: logs.clone() };
    run_train(&options).expect("the log is well formed");
    let model = read_model(Some(&out)).expect("a model was written");
    let logs = read_logs(&logs).expect("the log is well formed");
    let report = judge(&model, &logs[0]).expect("there is a gap");
    let json = serde_json::to_value([&report]).expect("figures are JSON");
    let figures = &json[0];
    assert!(figures["file"].as_str().is_some_and(|file| file.ends_with("log.jsonl")), "{json}");
    for name in ["apgr", "cpt50", "cpt80", "weak_accuracy", "strong_accuracy", "num"] {
        assert!(figures[name].is_number(), "{name}: {json}");
        for baseline in ["random", "length", "oracle"] {
            assert!(figures["baselines"][baseline][name].is_number(), "{baseline} {name}: {json}");
        }
    }
    assert!(figures["apgr"].as_f64() > Some(0.7), "{json}");
    assert!(report::table(&[report]).contains("oracle"));
}

#[test]
fn a_file_that_is_no_model_or_not_there_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let log = log(folder.path(), 3);
    let error = read_model(Some(&log)).expect_err("a log is no model");
    assert!(format!("{error:#}").contains("log.jsonl: gain model is damaged"), "{error:#}");
    let error = read_logs(&[folder.path().join("absent")]).err().expect("there is no such log");
    assert!(format!("{error:#}").contains("absent` cannot be read"), "{error:#}");
}
