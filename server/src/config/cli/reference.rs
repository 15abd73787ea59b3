//! The reference of flags, generated from their definition.

use std::fmt::Write;

use clap::CommandFactory;

use super::Cli;

/// The flags of `spillway serve` as Markdown tables, one for each section of the config file.
pub fn flags_markdown() -> String {
    let command = Cli::command();
    let Some(serve) = command.find_subcommand("serve") else { return String::new() };
    let mut text = String::new();
    let mut heading = None;
    for flag in serve.get_arguments().filter(|flag| !flag.is_hide_set()) {
        let Some(name) = flag.get_long() else { continue };
        if heading != Some(flag.get_help_heading()) {
            heading = Some(flag.get_help_heading());
            let title = flag.get_help_heading().unwrap_or("The config file itself");
            let _ = write!(text, "\n**{title}**\n\n| Flag | Default | Meaning |\n|---|---|---|\n");
        }
        let defaults = flag.get_default_values().iter().map(|value| format!("`{}`", value.to_string_lossy()));
        let help = flag.get_help().map(ToString::to_string).unwrap_or_default().replace('|', "\\|");
        let _ = writeln!(text, "| `--{name}` | {} | {help} |", defaults.collect::<Vec<_>>().join(" "));
    }
    text.trim_start().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flag_of_serve_is_explained() {
        let command = Cli::command();
        let serve = command.find_subcommand("serve").expect("there is a serve command");
        for flag in serve.get_arguments() {
            assert!(flag.get_help().is_some_and(|help| !help.to_string().is_empty()), "{}", flag.get_id());
        }
        assert!(flags_markdown().contains("| `--max-num-seqs` | `256` |"));
    }
}
