//! The trained model: from a prompt's text to an expected gain.

mod bytes;

use crate::calibration::Calibration;
use crate::error::GainError;
use crate::reading::Reading;
use crate::stages::Stages;

/// Weights that predict the gain of the strong model over the local one.
#[derive(Debug, Clone, PartialEq)]
pub struct GainModel {
    stages: Stages,
    calibration: Calibration,
}

impl GainModel {
    pub(crate) fn new(stages: Stages, calibration: Calibration) -> Self {
        Self { stages, calibration }
    }

    /// The model that is part of this program. Keep it: every call reads the weights anew, which takes milliseconds.
    ///
    /// It is trained on half of the outcomes that `RouteLLM` published, of Mixtral-8x7B-Instruct as the weak and GPT-4-1106
    /// as the strong model, on MMLU and GSM8K.
    pub fn shipped() -> Self {
        Self::from_bytes(include_bytes!("../model.bin")).expect("a test reads the shipped model")
    }

    /// Reads what [`to_bytes`](Self::to_bytes) wrote.
    ///
    /// # Errors
    ///
    /// [`GainError::Format`] for another format, [`GainError::Damaged`] for anything else that is not a whole model.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, GainError> {
        bytes::read(bytes)
    }

    /// The model as bytes: the same model always gives the same ones.
    pub fn to_bytes(&self) -> Vec<u8> {
        bytes::write(self)
    }

    /// The expected gain of sending `prompt` to the strong model: the chance that only the strong model is right, minus the
    /// chance that only the local one is. From -1 to 1; about the mean gain for a text in unknown words.
    pub fn gain(&self, prompt: &str) -> f32 {
        self.calibration.line.apply(self.stages.score(&Reading::new(prompt))).clamp(-1.0, 1.0)
    }

    /// The gain from which on a prompt should be sent away, so that `share` of the prompts are.
    ///
    /// It holds for prompts like those of the last [`calibrate`](Self::calibrate), or else of the training, where the scores
    /// are those of models that had not seen the prompt. For a share of 0 or less no gain is enough, for 1 or more any is.
    pub fn threshold_for_share(&self, share: f64) -> f32 {
        self.calibration.threshold(share)
    }

    /// Takes `gains`, given by this model for a user's own prompts, as what [`threshold_for_share`](Self::threshold_for_share)
    /// goes by. Numbers that are not finite are passed over; where none is left, nothing changes.
    pub fn calibrate(&mut self, gains: &[f32]) {
        let finite = || gains.iter().copied().filter(|gain| gain.is_finite());
        if finite().next().is_some() {
            self.calibration = Calibration::new(self.calibration.line, finite());
        }
    }
}
