//! What may go wrong with a model's bytes, a labelled log, or a training.

/// Why there is no model, no example or no figure.
#[derive(Debug, thiserror::Error)]
pub enum GainError {
    /// The bytes are no gain model, or a damaged one.
    #[error("gain model is damaged: {what}; train it again with `spillway route train`")]
    Damaged {
        /// What was expected and not found.
        what: &'static str,
    },

    /// The bytes are a gain model of another format.
    #[error(
        "gain model has format {found}, this program reads format {known}; train it again with `spillway route train`"
    )]
    Format {
        /// The format the bytes name.
        found: u32,
        /// The format this program reads.
        known: u32,
    },

    /// A line of a labelled log cannot be used.
    #[error(
        "`{file}` line {line}: {reason}; each line must be an object like {{\"prompt\": \"..\", \"weak_correct\": true, \"strong_correct\": false}}"
    )]
    Line {
        /// The name of the file, as the caller gave it.
        file: String,
        /// The line, counted from 1.
        line: usize,
        /// What is wrong with it. It never holds the prompt.
        reason: LineFault,
    },

    /// There is too little, or too much, to learn from.
    #[error("{num} examples were given, training takes {min} to {max}")]
    NumExamples {
        /// How many there were.
        num: usize,
        /// The fewest that training takes.
        min: usize,
        /// The most that training takes.
        max: usize,
    },

    /// The strong model is not better than the weak one on these examples, so nothing is there to be recovered.
    #[error(
        "the strong model is right on {strong} of {num} prompts and the weak one on {weak}: there is no gap to recover; give examples where the strong model is better"
    )]
    NoGap {
        /// Prompts the weak model got right.
        weak: usize,
        /// Prompts the strong model got right.
        strong: usize,
        /// All prompts.
        num: usize,
    },

    /// The scores do not belong to the examples.
    #[error("{num_scores} scores were given for {num_examples} examples; give one finite score each")]
    Scores {
        /// How many finite scores there were.
        num_scores: usize,
        /// How many examples there were.
        num_examples: usize,
    },
}

/// What is wrong with a line of a labelled log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LineFault {
    /// It is not JSON.
    NotJson {
        /// The column where reading stopped.
        column: usize,
    },
    /// It is JSON, but a field is missing or has another type.
    Fields,
    /// The prompt is empty.
    EmptyPrompt,
}

impl std::fmt::Display for LineFault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NotJson { column } => write!(f, "not JSON at column {column}"),
            Self::Fields => write!(f, "a field is missing or has the wrong type"),
            Self::EmptyPrompt => write!(f, "the prompt is empty"),
        }
    }
}
