//! How an evaluation is told: as JSON, as a table, as a line.

use std::fmt::{self, Write};

use serde::Serialize;
use spillway_gain::{
    Evaluation, Example, GainError, evaluate, evaluate_length, evaluate_oracle, evaluate_random,
};

/// The figures of one log, and what to hold them against.
#[derive(Debug, Serialize)]
pub(super) struct FileReport {
    file: String,
    #[serde(flatten)]
    model: Evaluation,
    baselines: Baselines,
}

#[derive(Debug, Serialize)]
struct Baselines {
    random: Evaluation,
    length: Evaluation,
    oracle: Evaluation,
}

impl FileReport {
    /// Judges `scores` of the `examples` of `file`.
    pub(super) fn new(file: String, examples: &[Example], scores: &[f32]) -> Result<Self, GainError> {
        let baselines = Baselines {
            random: evaluate_random(examples)?,
            length: evaluate_length(examples)?,
            oracle: evaluate_oracle(examples)?,
        };
        Ok(Self { file, model: evaluate(examples, scores)?, baselines })
    }
}

/// A table for people, a block a log.
pub(super) fn table(reports: &[FileReport]) -> String {
    let mut text = String::new();
    for report in reports {
        let Evaluation { num, weak_accuracy, strong_accuracy, .. } = report.model;
        let [weak, strong] = [100.0 * weak_accuracy, 100.0 * strong_accuracy];
        let _ = writeln!(
            text,
            "{}: {num} prompts, weak right on {weak:.1} %, strong on {strong:.1} %",
            report.file
        );
        text.push_str("           APGR   CPT50   CPT80\n");
        let baselines = &report.baselines;
        let rows = [
            ("model", report.model),
            ("random", baselines.random),
            ("length", baselines.length),
            ("oracle", baselines.oracle),
        ];
        for (name, figures) in rows {
            let Evaluation { apgr, cpt50, cpt80, .. } = figures;
            let [half, most] = [100.0 * cpt50, 100.0 * cpt80];
            let _ = writeln!(text, "  {name:<7} {apgr:6.3}  {half:5.1} %  {most:5.1} %");
        }
    }
    text
}

/// Evaluations of the same examples by several models, at least one: told by mean and standard deviation.
pub(super) struct Spread<'a>(pub(super) &'a [Evaluation]);

impl fmt::Display for Spread<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let num = self.0.len() as f64;
        let mean = |figure: fn(&Evaluation) -> f64| self.0.iter().map(figure).sum::<f64>() / num;
        let apgr = mean(|evaluation| evaluation.apgr);
        let variance = self.0.iter().map(|evaluation| (evaluation.apgr - apgr).powi(2)).sum::<f64>() / num;
        let [cpt50, cpt80] = [mean(|evaluation| evaluation.cpt50), mean(|evaluation| evaluation.cpt80)];
        write!(f, "APGR {apgr:.4}, deviation {:.4}, ", variance.sqrt())?;
        write!(f, "CPT50 {:.1} %, CPT80 {:.1} %", 100.0 * cpt50, 100.0 * cpt80)
    }
}
