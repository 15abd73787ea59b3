//! Who may import whom: the arrows drawn in ARCHITECTURE.md.

use cargo_metadata::{DependencyKind, Metadata};

/// Which of the workspace's packages a package may import.
enum May {
    Anything,
    AllBut(&'static [&'static str]),
    Only(&'static [&'static str]),
}

const ARROWS: [(&str, May); 16] = [
    ("spillway", May::Anything),
    ("spillway-tests", May::Anything),
    ("xtask", May::Anything),
    ("spillway-bench", May::AllBut(&["spillway"])),
    (
        "spillway-backends",
        May::Only(&["spillway-router", "spillway-engine", "spillway-api", "spillway-types"]),
    ),
    (
        "spillway-engine",
        May::Only(&["spillway-scheduler", "spillway-models", "spillway-text", "spillway-types"]),
    ),
    ("spillway-models", May::Only(&["spillway-kernels", "spillway-types"])),
    ("spillway-router", May::Only(&["spillway-types"])),
    ("spillway-gain", May::Only(&[])),
    ("spillway-store", May::Only(&["spillway-types"])),
    ("spillway-scheduler", May::Only(&["spillway-types"])),
    ("spillway-text", May::Only(&["spillway-types"])),
    ("spillway-api", May::Only(&["spillway-types"])),
    ("spillway-types", May::Only(&[])),
    ("spillway-kernels", May::Only(&[])),
    ("spillway-emulated-driver", May::Only(&[])),
];

/// Complains about each arrow that is not drawn. Tests may import more than the code they test.
pub(super) fn check(metadata: &Metadata) -> Vec<String> {
    let packages = metadata.workspace_packages();
    let ours: Vec<&str> = packages.iter().map(|package| package.name.as_str()).collect();
    let mut complaints = Vec::new();
    for package in &packages {
        let name = package.name.as_str();
        let Some((_, may)) = ARROWS.iter().find(|(from, _)| *from == name) else {
            complaints.push(format!("package {name} has no arrows: draw them in xtask and ARCHITECTURE.md"));
            continue;
        };
        for dependency in &package.dependencies {
            let to = dependency.name.as_str();
            if dependency.kind == DependencyKind::Normal && ours.contains(&to) && !is_drawn(may, to) {
                complaints.push(format!("{name} imports {to}, an arrow that is not drawn"));
            }
        }
    }
    complaints
}

fn is_drawn(may: &May, to: &str) -> bool {
    match may {
        May::Anything => true,
        May::AllBut(forbidden) => !forbidden.contains(&to),
        May::Only(allowed) => allowed.contains(&to),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_arrow_is_drawn_only_where_the_table_says_so() {
        assert!(is_drawn(&May::Anything, "spillway"));
        assert!(is_drawn(&May::Only(&["spillway-types"]), "spillway-types"));
        assert!(!is_drawn(&May::Only(&["spillway-types"]), "spillway-models"));
        assert!(!is_drawn(&May::AllBut(&["spillway"]), "spillway"));
    }

    #[test]
    fn scheduler_and_models_never_meet() {
        for (from, to) in
            [("spillway-scheduler", "spillway-models"), ("spillway-models", "spillway-scheduler")]
        {
            let (_, may) = ARROWS.iter().find(|(name, _)| *name == from).expect("both have arrows");
            assert!(!is_drawn(may, to));
        }
    }
}
