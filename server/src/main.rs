//! The binary: parse, run, map the error to an exit code.

use std::process::ExitCode;

use spillway::{app, config};

/// Exit code for a command line or config that cannot be followed, as clap's own.
const EXIT_USAGE: u8 = 2;

fn main() -> ExitCode {
    let command = match config::parse() {
        Ok(command) => command,
        Err(error) => return fail(&anyhow::Error::from(error), EXIT_USAGE),
    };
    match app::run(command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error, app::exit_code(&error)),
    }
}

fn fail(error: &anyhow::Error, code: u8) -> ExitCode {
    eprintln!("error: {error:#}");
    ExitCode::from(code)
}
