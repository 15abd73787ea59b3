//! `unsafe` stands in two places only, and each time says what it relies on.

use crate::sources::Source;

/// Where `unsafe` may stand: the kernels, and the memory map of weight files.
const PLACES: [&str; 2] = ["kernels/", "models/src/weights"];

/// Lines above an `unsafe` within which its reason must begin.
const REASON_WITHIN_LINES: usize = 14;

/// Complains of each `unsafe` outside its places or without a reason.
pub(super) fn check(sources: &[Source]) -> Vec<String> {
    let mut complaints = Vec::new();
    for source in sources.iter().filter(|source| source.has_extension("rs")) {
        let lines: Vec<&str> = source.text.lines().collect();
        for (line_idx, line) in lines.iter().enumerate() {
            if !has_unsafe(line) {
                continue;
            }
            let at = format!("{}:{}", source.path, line_idx + 1);
            if !PLACES.iter().any(|place| source.path.starts_with(place)) {
                complaints.push(format!("{at}: unsafe outside {}", PLACES.join(" and ")));
            } else if !keeps_a_traits_contract(&lines[..=line_idx])
                && !has_reason(&lines[line_idx.saturating_sub(REASON_WITHIN_LINES)..=line_idx])
            {
                complaints.push(format!("{at}: unsafe without a SAFETY comment"));
            }
        }
    }
    complaints
}

/// Whether a line uses the keyword, outside comments, strings and attribute names.
fn has_unsafe(line: &str) -> bool {
    let code = line.split("//").next().unwrap_or_default();
    let keyword = concat!("un", "safe");
    code.match_indices(keyword).any(|(at, _)| {
        let before = code[..at].chars().next_back();
        let after = code[at + keyword.len()..].trim_start();
        let in_string = code[..at].matches('"').count() % 2 == 1;
        let starts_block = ["{", "fn", "impl", "extern", "trait"].iter().any(|next| after.starts_with(next));
        !in_string && !before.is_some_and(|c| c.is_alphanumeric() || c == '_') && starts_block
    })
}

/// Whether the last line is a method of a trait's impl: its contract stands with the trait, which is checked there.
fn keeps_a_traits_contract(lines: &[&str]) -> bool {
    let is_function = lines.last().is_some_and(|line| line.contains(concat!("un", "safe fn ")));
    let item = lines.iter().rev().find(|line| line.starts_with(|c: char| c.is_ascii_alphabetic()));
    is_function && item.is_some_and(|line| line.starts_with("impl") && line.contains(" for "))
}

/// Whether the lines above give a reason: a comment at a block, a `# Safety` section at a function or trait.
fn has_reason(lines: &[&str]) -> bool {
    lines.iter().any(|line| line.contains("SAFETY:") || line.contains("# Safety"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_keyword_in_code_only() {
        let keyword = concat!("un", "safe");
        assert!(has_unsafe(&format!("    let x = {keyword} {{ read(p) }};")));
        assert!(has_unsafe(&format!("pub(crate) {keyword} fn f() {{")));
        assert!(!has_unsafe(&format!("// {keyword} {{ }} is forbidden here")));
        assert!(!has_unsafe(&format!("{keyword}_code = \"forbid\"")));
        assert!(!has_unsafe(&format!("println!(\"{keyword} {{\");")));
    }

    #[test]
    fn a_trait_states_the_contract_for_its_impls() {
        let method = concat!("    un", "safe fn load(self) {");
        assert!(keeps_a_traits_contract(&["impl Simd for Portable {", method]));
        assert!(!keeps_a_traits_contract(&["impl Portable {", method]));
        assert!(!keeps_a_traits_contract(&["impl Simd for Portable {", concat!("un", "safe { f() }")]));
    }

    #[test]
    fn wants_a_place_and_a_reason() {
        let block = concat!("let x = un", "safe { read(p) };\n");
        let reasoned = format!("// SAFETY: p is valid.\n{block}");
        let files = [
            Source { path: "server/src/a.rs".to_owned(), text: reasoned.clone() },
            Source { path: "kernels/src/b.rs".to_owned(), text: block.to_owned() },
            Source { path: "kernels/src/c.rs".to_owned(), text: reasoned },
        ];
        let complaints = check(&files);
        assert_eq!(complaints.len(), 2);
        assert!(complaints[0].contains("outside") && complaints[1].contains("without"));
    }
}
