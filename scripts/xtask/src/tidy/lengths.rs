//! Prints the longest files and functions, for a reader to judge; long is no failure by itself.

use syn::spanned::Spanned;
use syn::visit::{self, Visit};

use crate::sources::Source;

const FILE_LINES: usize = 400;
const FUNCTION_LINES: usize = 70;

/// Prints files over 400 lines (tests not counted) and functions over 70, longest first.
pub(super) fn print(sources: &[Source]) {
    let rust: Vec<&Source> = sources.iter().filter(|source| source.has_extension("rs")).collect();
    let mut files: Vec<(usize, &str)> =
        rust.iter().map(|source| (code_lines(&source.text), source.path.as_str())).collect();
    files.retain(|&(num_lines, path)| num_lines > FILE_LINES && !is_test(path));
    files.sort_unstable_by(|a, b| b.cmp(a));
    println!("tidy: {} of {} files are over {FILE_LINES} lines", files.len(), rust.len());
    for (num_lines, path) in files {
        println!("  {num_lines:5}  {path}");
    }
    let mut functions: Vec<(usize, String)> = rust.iter().flat_map(|source| functions(source)).collect();
    let num_functions = functions.len();
    functions.retain(|&(num_lines, _)| num_lines > FUNCTION_LINES);
    functions.sort_unstable_by(|a, b| b.cmp(a));
    println!("tidy: {} of {num_functions} functions are over {FUNCTION_LINES} lines", functions.len());
    for (num_lines, name) in functions {
        println!("  {num_lines:5}  {name}");
    }
}

fn is_test(path: &str) -> bool {
    path.ends_with("/tests.rs") || path.contains("/tests/") || path.starts_with("tests/")
}

/// Lines before the test module at the end of the file.
fn code_lines(text: &str) -> usize {
    let lines: Vec<&str> = text.lines().collect();
    lines
        .windows(2)
        .position(|pair| pair[0] == "#[cfg(test)]" && pair[1].starts_with("mod ") && pair[1].ends_with('{'))
        .unwrap_or(lines.len())
}

fn functions(source: &Source) -> Vec<(usize, String)> {
    // A file that does not parse fails the build; there is nothing to measure in it.
    let Ok(file) = syn::parse_file(&source.text) else { return Vec::new() };
    let mut lengths = FunctionLengths { path: &source.path, found: Vec::new() };
    lengths.visit_file(&file);
    lengths.found
}

struct FunctionLengths<'a> {
    path: &'a str,
    found: Vec<(usize, String)>,
}

impl FunctionLengths<'_> {
    fn note(&mut self, name: &syn::Ident, block: &syn::Block) {
        let (start, end) = (block.span().start().line, block.span().end().line);
        self.found.push((end + 1 - start, format!("{}:{start} {name}", self.path)));
    }
}

impl<'ast> Visit<'ast> for FunctionLengths<'_> {
    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        self.note(&item.sig.ident, &item.block);
        visit::visit_item_fn(self, item);
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        self.note(&item.sig.ident, &item.block);
        visit::visit_impl_item_fn(self, item);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn measures_functions_and_stops_counting_at_the_tests() {
        let text = "fn a() {\n    b();\n}\n#[cfg(test)]\nmod tests {\n}\n";
        assert_eq!(code_lines(text), 3);
        let source = Source { path: "x.rs".to_owned(), text: text.to_owned() };
        assert_eq!(functions(&source), [(3, "x.rs:1 a".to_owned())]);
    }
}
