//! The model that knows hard prompts, as the router asks it.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use spillway_gain::GainModel;
use spillway_router::{GainEstimator, Route};

/// Weights in the router's terms.
struct Estimator(GainModel);

impl GainEstimator for Estimator {
    fn gain(&self, text: &str) -> f32 {
        self.0.gain(text)
    }

    fn threshold(&self, share: f64) -> f32 {
        self.0.threshold_for_share(share)
    }
}

/// The weights of this file, or those inside the binary; none if no route asks for them.
pub(super) fn estimator(
    file: Option<&Path>,
    routes: &[Route],
) -> anyhow::Result<Option<Arc<dyn GainEstimator>>> {
    if routes.iter().all(|route| route.hard.is_none()) {
        return Ok(None);
    }
    let model = match file {
        None => GainModel::shipped(),
        Some(path) => {
            let bytes = std::fs::read(path)
                .with_context(|| format!("[router] gain_model {} could not be read", path.display()))?;
            GainModel::from_bytes(&bytes)
                .with_context(|| format!("[router] gain_model {} cannot be used", path.display()))?
        }
    };
    Ok(Some(Arc::new(Estimator(model))))
}
