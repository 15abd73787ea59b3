//! Counts and shares of a prompt's surface: its length, its numbers and signs, its kind of question, its options.

use super::numbers::number_values;
use super::options::{self, Question};
use super::words::{WordList, num_shared};

/// How many values [`lexical`] gives.
pub(crate) const NUM_LEXICAL: usize = CHARACTERS + PHRASING + OPTIONS;
const CHARACTERS: usize = 18;
const PHRASING: usize = 19;
const OPTIONS: usize = 13;

/// The values of a prompt of `num_bytes`, of which `text` was read; `words` are those of `text`.
pub(super) fn lexical(num_bytes: usize, text: &str, words: &WordList<'_>) -> [f32; NUM_LEXICAL] {
    let question = options::split(text);
    let stem_lower = question.stem.to_lowercase();
    let stem_words = WordList::new(&stem_lower);
    let mut values = [0.0; NUM_LEXICAL];
    let (characters, rest) = values.split_at_mut(CHARACTERS);
    let (phrasing, options) = rest.split_at_mut(PHRASING);
    characters.copy_from_slice(&character_values(num_bytes, text, words));
    phrasing.copy_from_slice(&phrasing_values(question.stem, &stem_lower, &stem_words, words));
    options.copy_from_slice(&option_values(text, &question, &stem_words));
    values
}

/// What characters the text is made of.
fn character_values(num_bytes: usize, text: &str, words: &WordList<'_>) -> [f32; CHARACTERS] {
    let count = |wanted: fn(char) -> bool| text.chars().filter(|&character| wanted(character)).count();
    let is_sign = |character: char| !character.is_alphanumeric() && !character.is_whitespace();
    let num_characters = text.chars().count();
    let digits = count(|character| character.is_ascii_digit());
    let signs = count(is_sign);
    let is_word = |word: &str| word.chars().any(char::is_alphabetic);
    let num_words = words.count(is_word);
    let letters: usize =
        words.as_slice().iter().filter(|word| is_word(word)).map(|word| word.chars().count()).sum();
    [
        num_bytes as f32,
        digits as f32,
        share(digits, num_characters),
        share(count(char::is_uppercase), num_characters),
        signs as f32,
        share(signs, num_characters),
        count(|character| "=+*/^<>\\".contains(character)) as f32,
        count(|character| "\"\u{201c}".contains(character)) as f32,
        count(|character| character == '(') as f32,
        count(|character| character == '$') as f32,
        count(|character| character == ',') as f32,
        count(|character| character == '%') as f32,
        share(letters, num_words),
        share(words.count(|word| is_word(word) && word.chars().count() > 9), num_words),
        share(words.distinct().len(), words.as_slice().len()),
        share(words.count(is_function_word), words.as_slice().len()),
        flag(words.as_slice().iter().any(|word| is_year(word))),
        num_words as f32,
    ]
}

/// How the question is put.
fn phrasing_values(
    stem: &str,
    lower: &str,
    stem_words: &WordList<'_>,
    words: &WordList<'_>,
) -> [f32; PHRASING] {
    let is_loud = |word: &str| matches!(word, "NOT" | "EXCEPT" | "LEAST" | "FALSE");
    let begins_with = |word: &str| flag(stem_words.as_slice().first() == Some(&word));
    let pieces = || stem.split(|character: char| !character.is_alphanumeric());
    let is_name = |word: &&str| {
        let mut characters = word.chars();
        characters.next().is_some_and(char::is_uppercase) && characters.next().is_some_and(char::is_lowercase)
    };
    let has_digit = |word: &str| word.starts_with(|character: char| character.is_ascii_digit());
    let sentences = stem.split(['.', '?', '!']).filter(|piece| !piece.trim().is_empty()).count();
    [
        stem.len() as f32,
        stem_words.count(has_digit) as f32,
        pieces().filter(is_name).count() as f32,
        flag(stem.contains('?')),
        flag(stem.contains('_')),
        flag(stem.ends_with('?')),
        flag(stem.ends_with([':', '\u{2026}'])),
        stem_words.count(is_negation) as f32,
        flag(pieces().any(is_loud)),
        flag(lower.contains("statement 1")),
        flag(lower.contains("which of the following")),
        stem.matches('\n').count() as f32,
        sentences as f32,
        words.count(is_person) as f32,
        begins_with("what"),
        begins_with("which"),
        flag(stem_words.has("how")),
        flag(stem_words.has("why")),
        flag(stem_words.has("if")),
    ]
}

/// What the options are like, how alike, and what numbers stand in them and in the question; zeros where there are none.
///
/// Numbers of a free-form prompt are not counted here: what they mean for a question with options misleads on word
/// problems, of which the training has few.
fn option_values(text: &str, question: &Question<'_>, stem_words: &WordList<'_>) -> [f32; OPTIONS] {
    let options = &question.options;
    let num = options.len();
    if num == 0 {
        return [0.0; OPTIONS];
    }
    let lengths: Vec<usize> = options.iter().map(|option| option.len()).collect();
    let mean = share(lengths.iter().sum(), num);
    let variance = lengths.iter().map(|&length| (length as f32 - mean).powi(2)).sum::<f32>() / num as f32;
    let lower: Vec<String> = options.iter().map(|option| option.to_lowercase()).collect();
    let words: Vec<Vec<&str>> = lower.iter().map(|option| WordList::new(option).distinct()).collect();
    let stem_words = stem_words.distinct();
    let in_stem = |option: &Vec<&str>| share(num_shared(option, &stem_words), option.len());
    let alike = likeness(&words);
    let [num_numbers, largest_number] = number_values(text);
    let begins_with_number = |option: &&&str| {
        option.trim_start_matches([' ', '$', '+', '-']).starts_with(|c: char| c.is_ascii_digit())
    };
    [
        num as f32,
        mean,
        variance.sqrt(),
        lengths.iter().copied().max().unwrap_or(0) as f32,
        variance.sqrt() / (mean + 1.0),
        options.iter().filter(begins_with_number).count() as f32,
        flag(lower.iter().any(|option| option.contains("of the above"))),
        alike.iter().sum::<f32>() / alike.len().max(1) as f32,
        alike.iter().copied().fold(0.0, f32::max),
        words.iter().map(in_stem).sum::<f32>() / num as f32,
        share(options.iter().map(|option| option.split_whitespace().count()).sum(), num),
        num_numbers,
        largest_number,
    ]
}

/// Shared words over all words, for every pair of options.
fn likeness(words: &[Vec<&str>]) -> Vec<f32> {
    let mut alike = Vec::new();
    for (idx, left) in words.iter().enumerate() {
        for right in &words[..idx] {
            let shared = num_shared(left, right);
            alike.push(share(shared, left.len() + right.len() - shared));
        }
    }
    alike
}

fn is_function_word(word: &str) -> bool {
    matches!(word, "the" | "a" | "an" | "of" | "to" | "in" | "and")
}

fn is_negation(word: &str) -> bool {
    matches!(word, "not" | "except" | "least" | "never" | "no")
}

fn is_person(word: &str) -> bool {
    matches!(word, "you" | "your" | "i" | "my")
}

fn is_year(word: &str) -> bool {
    word.len() == 4
        && word.bytes().all(|byte| byte.is_ascii_digit())
        && (word.starts_with('1') || word.starts_with("20"))
}

fn flag(value: bool) -> f32 {
    f32::from(u8::from(value))
}

/// `part / whole`, 0 of nothing.
fn share(part: usize, whole: usize) -> f32 {
    if whole == 0 { 0.0 } else { part as f32 / whole as f32 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_counted_where_there_are_options_only() {
        let last_two =
            |text: &str| lexical(text.len(), text, &WordList::new(text))[NUM_LEXICAL - 2..].to_vec();
        let [num, largest] = last_two("what is 3 + 4?\nA. 7\nB. 19")[..] else { panic!("two values") };
        assert!((num - 4.0).abs() < 1e-6 && (largest - 20.0_f32.ln()).abs() < 1e-6, "{num} {largest}");
        assert_eq!(last_two("what is 3 + 4 + 19?"), [0.0, 0.0]);
    }
}
