//! Every dependency comes from the registry and under a licence that goes with ours.

use cargo_metadata::Metadata;

/// Licences that may stand in a dependency's expression. One of each `OR` is enough, all of each `AND` are needed.
const ALLOWED: [&str; 15] = [
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "CDLA-Permissive-2.0",
    "ISC",
    "MIT",
    "MIT-0",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
    "MPL-2.0",
];

/// Complains of each package that is not from the registry, or whose licence is not allowed.
pub(super) fn check(metadata: &Metadata) -> Vec<String> {
    let mut complaints = Vec::new();
    for package in
        metadata.packages.iter().filter(|package| !metadata.workspace_members.contains(&package.id))
    {
        let name = format!("{} {}", package.name, package.version);
        if package.source.as_ref().is_none_or(|source| !source.is_crates_io()) {
            complaints.push(format!("{name}: not from crates.io"));
        }
        match &package.license {
            Some(expression) if is_allowed(expression) => {}
            Some(expression) => complaints.push(format!("{name}: licence {expression} is not on the list")),
            None if package.license_file.is_some() => {}
            None => complaints.push(format!("{name}: no licence")),
        }
    }
    complaints
}

/// Reads an SPDX expression: `OR` of `AND` of names, with parentheses around either. `/` is an old `OR`.
fn is_allowed(expression: &str) -> bool {
    let expression = expression.replace('/', " OR ");
    let expression = expression.trim();
    if let Some(parts) = split(expression, " OR ") {
        return parts.iter().any(|part| is_allowed(part));
    }
    if let Some(parts) = split(expression, " AND ") {
        return parts.iter().all(|part| is_allowed(part));
    }
    match expression.strip_prefix('(').and_then(|inner| inner.strip_suffix(')')) {
        Some(inner) => is_allowed(inner),
        None => ALLOWED.contains(&expression),
    }
}

/// Splits at an operator outside parentheses; `None` if there is none.
fn split(expression: &str, operator: &str) -> Option<Vec<String>> {
    let mut parts = vec![String::new()];
    let mut depth = 0;
    let mut rest = expression;
    while let Some(next) = rest.chars().next() {
        if depth == 0 && rest.starts_with(operator) {
            parts.push(String::new());
            rest = &rest[operator.len()..];
            continue;
        }
        match next {
            '(' => depth += 1,
            ')' => depth -= 1,
            _ => {}
        }
        parts.last_mut()?.push(next);
        rest = &rest[next.len_utf8()..];
    }
    (parts.len() > 1).then_some(parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_licence_expressions() {
        for allowed in ["MIT", "MIT/Apache-2.0", "GPL-3.0 OR MIT", "(MIT OR GPL-2.0) AND Zlib"] {
            assert!(is_allowed(allowed), "{allowed}");
        }
        for refused in ["GPL-3.0", "MIT AND GPL-3.0", "(LGPL-3.0 OR GPL-2.0) AND MIT", ""] {
            assert!(!is_allowed(refused), "{refused}");
        }
    }
}
