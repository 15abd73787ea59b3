//! Whether a request may leave: where its label comes from, and that the strictest word wins.

use std::fmt;
use std::sync::Arc;

use regex::RegexSet;

/// Whether a request may be served by others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Privacy {
    /// It may.
    Standard,
    /// It stays inside, whatever happens.
    Private,
}

impl Privacy {
    /// The word in headers, config and the ledger.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Standard => "standard",
            Self::Private => "private",
        }
    }

    /// Reads the word.
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Standard, Self::Private]
            .into_iter()
            .find(|privacy| privacy.as_str().eq_ignore_ascii_case(word))
    }
}

/// On which side of the boundary a backend computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Boundary {
    /// Among the operator's own machines.
    Inside,
    /// Elsewhere.
    Outside,
}

impl Boundary {
    /// The word in the config.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Inside => "inside",
            Self::Outside => "outside",
        }
    }

    /// Whether a request of this label may cross to there.
    pub fn admits(self, privacy: Privacy) -> bool {
        match self {
            Self::Inside => true,
            Self::Outside => privacy == Privacy::Standard,
        }
    }
}

/// Who said what a request's privacy is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LabelSource {
    /// The route's default.
    Route,
    /// The client's key, of this name.
    Key(Arc<str>),
    /// The header `x-spillway-privacy`.
    Header,
    /// The content rule of this name.
    Rule(Arc<str>),
}

impl fmt::Display for LabelSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Route => f.write_str("route"),
            Self::Key(name) => write!(f, "key {name}"),
            Self::Header => f.write_str("header"),
            Self::Rule(name) => write!(f, "rule {name}"),
        }
    }
}

/// A request's privacy, and who says so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Label {
    /// Whether it may leave.
    pub privacy: Privacy,
    /// The first of those who were strictest.
    pub source: LabelSource,
}

impl Label {
    /// The strictest of what was said; of equals the first. The route's default stands for what nobody said.
    pub fn strictest(route_default: Privacy, said: impl IntoIterator<Item = Self>) -> Self {
        let default = Self { privacy: route_default, source: LabelSource::Route };
        said.into_iter().fold(
            default,
            |strictest, label| {
                if label.privacy > strictest.privacy { label } else { strictest }
            },
        )
    }
}

/// Patterns that make a request private by what it says.
#[derive(Debug, Clone)]
pub struct ContentRules {
    names: Vec<Arc<str>>,
    patterns: RegexSet,
}

/// A pattern that is no regular expression.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("content rule `{name}` is no regular expression: {message}")]
pub struct InvalidContentRule {
    /// The rule's name.
    pub name: Arc<str>,
    /// What is wrong with it.
    pub message: String,
}

impl ContentRules {
    /// Compiles rules of a name and a pattern each.
    ///
    /// # Errors
    ///
    /// [`InvalidContentRule`] names the first one that is no regular expression.
    pub fn new(rules: impl IntoIterator<Item = (Arc<str>, String)>) -> Result<Self, InvalidContentRule> {
        let (names, patterns): (Vec<_>, Vec<_>) = rules.into_iter().unzip();
        for (name, pattern) in names.iter().zip(&patterns) {
            regex::Regex::new(pattern)
                .map_err(|error| InvalidContentRule { name: Arc::clone(name), message: error.to_string() })?;
        }
        let patterns = RegexSet::new(patterns).map_err(|error| InvalidContentRule {
            name: Arc::from("all together"),
            message: error.to_string(),
        })?;
        Ok(Self { names, patterns })
    }

    /// No rules.
    pub fn none() -> Self {
        Self { names: Vec::new(), patterns: RegexSet::empty() }
    }

    /// Whether there is nothing to look for.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// The label that the first rule gives which any of `texts` meets. Linear in their length.
    pub fn label<'a>(&self, texts: impl IntoIterator<Item = &'a str>) -> Option<Label> {
        if self.is_empty() {
            return None;
        }
        let first = texts.into_iter().filter_map(|text| self.patterns.matches(text).iter().next()).min()?;
        Some(Label { privacy: Privacy::Private, source: LabelSource::Rule(Arc::clone(&self.names[first])) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn label(privacy: Privacy, source: LabelSource) -> Label {
        Label { privacy, source }
    }

    #[test]
    fn the_strictest_word_wins_and_the_route_speaks_for_those_who_are_silent() {
        use Privacy::{Private, Standard};
        let header = || label(Standard, LabelSource::Header);
        let key = || label(Private, LabelSource::Key(Arc::from("ward 7")));
        assert_eq!(Label::strictest(Private, [header()]), label(Private, LabelSource::Route));
        assert_eq!(Label::strictest(Standard, [header(), key()]), key());
        assert_eq!(Label::strictest(Standard, []), label(Standard, LabelSource::Route));
    }

    #[test]
    fn private_never_crosses() {
        assert!(!Boundary::Outside.admits(Privacy::Private));
        assert!(Boundary::Outside.admits(Privacy::Standard));
        assert!(Boundary::Inside.admits(Privacy::Private));
    }

    #[test]
    fn a_rule_met_by_any_text_makes_it_private() {
        let rules = [("iban", r"\b[A-Z]{2}\d{2}( ?\d{4}){4}"), ("patient", "(?i)patient")];
        let rules = rules.map(|(name, pattern)| (Arc::from(name), pattern.to_owned()));
        let rules = ContentRules::new(rules).expect("they are regular expressions");
        let found = rules.label(["hello", "of the PATIENT in bed 3"]).expect("a rule is met");
        assert_eq!(found, label(Privacy::Private, LabelSource::Rule(Arc::from("patient"))));
        assert_eq!(rules.label(["hello"]), None);
        let error = ContentRules::new([(Arc::from("odd"), "(".to_owned())]).expect_err("no expression");
        assert!(error.to_string().starts_with("content rule `odd` is no regular expression"), "{error}");
    }
}
