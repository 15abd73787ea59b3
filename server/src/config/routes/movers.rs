//! What moves requests among a route's targets: hard prompts, tags, splits; and who gets a copy.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::Arc;

use spillway_router::{BackendId, Boundary, Confidence, HardPrompts, Privacy, Shadow, SplitPart, VariantId};

use super::Known;
use crate::config::document::KeyPath;
use crate::config::key_error::{KeyError, Problem};
use crate::config::names::name;
use crate::config::raw::{RawConfidence, RawShadow, RawSplitPart, RawStrong};

/// Most tokens that are held back and judged: nobody waits longer before the first byte.
const MAX_HOLD_TOKENS: u32 = 256;
/// Tokens that are held back if the file does not say.
const DEFAULT_HOLD_TOKENS: NonZeroU32 = NonZeroU32::new(16).expect("it is not zero");
/// Longest word of a domain.
const MAX_TAG_LEN: usize = 64;
/// Most parts of a split, and most tags of a route.
const MAX_PARTS: usize = 64;

impl Known<'_> {
    /// Where hard prompts go.
    pub(super) fn hard(&self, raw: RawStrong, targets: &[BackendId]) -> Result<HardPrompts, KeyError> {
        let at = self.at.key("strong");
        let named =
            raw.backend.ok_or_else(|| at.key("backend").missing("name the target of hard prompts"))?;
        let strong = self.target(&named, targets, &at.key("backend"))?;
        let confidence = raw.confidence.map(|raw| self.confidence(raw, &strong, targets, &at)).transpose()?;
        let share = match (raw.share, confidence) {
            (Some(share), _) => part(share, &at.key("share"))?,
            // Then the second signal alone decides.
            (None, Some(_)) => 0.0,
            (None, None) => {
                let mend = "say which share of the requests may go there, as in share = 0.2";
                return Err(at.key("share").missing(mend));
            }
        };
        Ok(HardPrompts { strong, share, confidence })
    }

    fn confidence(
        &self,
        raw: RawConfidence,
        strong: &BackendId,
        targets: &[BackendId],
        at: &KeyPath,
    ) -> Result<Confidence, KeyError> {
        let at = at.key("confidence");
        if !self.has_local(targets, strong) {
            let reason = "no target but the strong one is local: only the engine of this process shows its first tokens";
            return Err(at.out_of_place(reason));
        }
        let hold_tokens = raw.hold_tokens.unwrap_or(DEFAULT_HOLD_TOKENS).get();
        if hold_tokens > MAX_HOLD_TOKENS {
            return Err(at
                .key("hold_tokens")
                .out_of_range(hold_tokens, format!("at most {MAX_HOLD_TOKENS}")));
        }
        let Some(min_mean_logprob) = raw.min_mean_logprob else {
            let mend =
                "say below which mean log-probability an answer is unsure, as in min_mean_logprob = -1.5";
            return Err(at.key("min_mean_logprob").missing(mend));
        };
        if !(min_mean_logprob.is_finite() && min_mean_logprob <= 0.0) {
            let expected = "at most 0, as every log-probability is, and finite";
            return Err(at.key("min_mean_logprob").out_of_range(min_mean_logprob, expected));
        }
        let limits = [("max_entropy", raw.max_entropy), ("min_margin", raw.min_margin)];
        for (key, limit) in limits {
            if let Some(limit) = limit.filter(|limit| !(limit.is_finite() && *limit >= 0.0)) {
                return Err(at.key(key).out_of_range(limit, "0 or more, and finite"));
            }
        }
        let (max_entropy, min_margin) = (raw.max_entropy, raw.min_margin);
        Ok(Confidence { hold_tokens, min_mean_logprob, max_entropy, min_margin })
    }

    /// Where requests of a domain go.
    pub(super) fn tags(
        &self,
        named: BTreeMap<String, String>,
        targets: &[BackendId],
    ) -> Result<Vec<(Arc<str>, BackendId)>, KeyError> {
        let at = self.at.key("tags");
        if named.len() > MAX_PARTS {
            return Err(at.out_of_range(format!("{} long", named.len()), format!("at most {MAX_PARTS} long")));
        }
        let mut tags = Vec::with_capacity(named.len());
        for (tag, backend) in named {
            let at = at.key(&tag);
            // Clients tell tags in a header, with commas between them.
            let is_fine = (1..=MAX_TAG_LEN).contains(&tag.len())
                && tag.bytes().all(|byte| byte.is_ascii_graphic() && byte != b',');
            if !is_fine {
                let expected = format!("1 to {MAX_TAG_LEN} visible ASCII characters without commas");
                return Err(at.out_of_range(format!("a tag of {} bytes", tag.len()), expected));
            }
            tags.push((Arc::from(tag), self.target(&backend, targets, &at)?));
        }
        Ok(tags)
    }

    /// The parts of a split.
    pub(super) fn split(
        &self,
        raw: Vec<RawSplitPart>,
        targets: &[BackendId],
    ) -> Result<Vec<SplitPart>, KeyError> {
        let at_split = self.at.key("split");
        if raw.len() > MAX_PARTS {
            let value = format!("{} long", raw.len());
            return Err(at_split.out_of_range(value, format!("at most {MAX_PARTS} long")));
        }
        let mut split: Vec<SplitPart> = Vec::with_capacity(raw.len());
        for (part_idx, raw) in raw.into_iter().enumerate() {
            let at = at_split.item(part_idx);
            let variant = VariantId::new(name(raw.variant, &at.key("variant"))?);
            if let Some(first_idx) = split.iter().position(|other| other.variant == variant) {
                let first = at_split.item(first_idx).key("variant");
                return Err(at.key("variant").is(Problem::Twice { name: variant.to_string(), first }));
            }
            let named =
                raw.backend.ok_or_else(|| at.key("backend").missing("name the target that serves it"))?;
            let backend = self.target(&named, targets, &at.key("backend"))?;
            let weight =
                raw.weight.ok_or_else(|| at.key("weight").missing("give it a weight, as in weight = 1"))?;
            split.push(SplitPart { variant, backend, weight });
        }
        if !split.is_empty() && split.iter().all(|part| part.weight == 0) {
            return Err(at_split.out_of_range("0 in all its weights", "more than 0 in at least one"));
        }
        Ok(split)
    }

    /// Who gets a copy.
    pub(super) fn shadow(
        &self,
        raw: RawShadow,
        default_privacy: Privacy,
        warnings: &mut Vec<KeyError>,
    ) -> Result<Shadow, KeyError> {
        let at = self.at.key("shadow");
        let named =
            raw.backend.ok_or_else(|| at.key("backend").missing("name the backend that gets a copy"))?;
        let backend = self.backend(&named, &at.key("backend"))?;
        let mend = "say which share of the requests is copied, as in share = 0.05";
        let share = part(raw.share.ok_or_else(|| at.key("share").missing(mend))?, &at.key("share"))?;
        if backend.boundary == Boundary::Outside && default_privacy == Privacy::Private {
            let expected = "inside: it is outside, and requests of this route are private, so none is copied";
            warnings.push(at.key("backend").out_of_range(format!("`{named}`"), expected));
        }
        Ok(Shadow { backend: backend.id.clone(), share })
    }
}

/// A part of a whole.
fn part(share: f64, at: &KeyPath) -> Result<f64, KeyError> {
    if (0.0..=1.0).contains(&share) {
        Ok(share)
    } else {
        Err(at.out_of_range(share, "a part of 1, from 0 to 1"))
    }
}
