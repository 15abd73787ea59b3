//! The numbers in a text.

/// Numbers from here on are taken for strings of digits that count nothing.
const MAX_NUMBER: f64 = 1e15;

/// How many different numbers `text` has, and the logarithm of one more than the largest; -1 where there is none.
pub(super) fn number_values(text: &str) -> [f32; 2] {
    let mut numbers = numbers(text);
    numbers.sort_by(f64::total_cmp);
    numbers.dedup();
    [numbers.len() as f32, numbers.last().map_or(-1.0, |largest| largest.ln_1p() as f32)]
}

/// All numbers in order, without their signs.
fn numbers(text: &str) -> Vec<f64> {
    let is_part = |character: char| character.is_ascii_digit() || ",.".contains(character);
    text.split(|character| !is_part(character))
        .map(|piece| piece.trim_matches([',', '.']).replace(',', ""))
        .filter_map(|digits| digits.parse().ok())
        .filter(|number| *number < MAX_NUMBER)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_whole_numbers_fractions_and_thousands() {
        assert_eq!(
            numbers("He paid $80,000, then 2.5 more (x3) on 1.2.3, or .5."),
            [80_000.0, 2.5, 3.0, 5.0]
        );
        assert_eq!(numbers("none., ,.. e5 \u{663}"), [5.0]);
        assert!(numbers(&"9".repeat(400)).is_empty());
    }

    #[test]
    fn different_numbers_are_counted_and_the_largest_is_taken() {
        let [num, largest] = number_values("7 and 7 and 19");
        assert!((num - 2.0).abs() < 1e-6 && (largest - 20.0_f32.ln()).abs() < 1e-6, "{num} {largest}");
        assert!(number_values("none")[1] < 0.0);
    }
}
