//! The README's generated parts are what the code says. `UPDATE_README=1` writes them anew.

#[path = "readme/sizing.rs"]
mod sizing;

use std::path::Path;

/// The README with the text between a part's two marks replaced.
fn with_part(readme: &str, part: &str, text: &str) -> String {
    let (start, end) = (format!("<!-- {part}: generated -->\n"), format!("<!-- end of {part} -->"));
    let (before, rest) = readme.split_once(&start).expect("the part begins");
    let (_, after) = rest.split_once(&end).expect("the part ends");
    format!("{before}{start}\n{}\n\n{end}{after}", text.trim())
}

#[test]
fn the_readme_lists_every_flag_key_and_request_field_and_how_much_memory_models_take() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let path = root.join("README.md");
    let example = std::fs::read_to_string(root.join("scripts/deploy/spillway-routes.toml"));
    let example = format!("```toml\n{}\n```", example.expect("the example can be read").trim());
    let readme = std::fs::read_to_string(&path).expect("the README can be read");
    let expected = with_part(&readme, "flags", &spillway::config::flags_markdown());
    let expected = with_part(&expected, "example of routes", &example);
    let expected = with_part(&expected, "file keys", &spillway::config::file_keys_markdown());
    let expected = with_part(&expected, "request fields", &spillway_api::fields::markdown());
    let expected = with_part(&expected, "memory", &sizing::markdown());
    if std::env::vars().any(|(name, _)| name == "UPDATE_README") {
        std::fs::write(&path, &expected).expect("the README can be written");
        return;
    }
    assert!(
        readme == expected,
        "README.md is out of date: run UPDATE_README=1 cargo test --workspace --features cuda --test readme"
    );
}
