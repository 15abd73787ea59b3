//! Predicts how much better a strong model would answer a prompt than the local one.
