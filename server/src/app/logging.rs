//! Logs: structured, on standard error, never with the text of prompts.

use std::io::IsTerminal;

use tracing::{Level, Metadata};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::config::{LogConfig, LogFormat};

/// What the names of AWS's crates begin with.
const AWS: &str = "aws_";

/// Starts logging. Called once.
pub(crate) fn start(config: &LogConfig) -> anyhow::Result<()> {
    let is_terminal = std::io::stderr().is_terminal();
    let started = subscriber(config, is_terminal, std::io::stderr)?.try_init();
    started.map_err(|error| anyhow::anyhow!("logging could not be started: {error}"))
}

/// Writes logs as the config says.
fn subscriber<W>(
    config: &LogConfig,
    is_terminal: bool,
    writer: W,
) -> anyhow::Result<Box<dyn tracing::Subscriber + Send + Sync>>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let filter = EnvFilter::try_new(&config.filter)?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(writer);
    Ok(match config.format {
        LogFormat::Text => Box::new(builder.with_ansi(is_terminal).finish().with(filter_fn(tells_no_prompt))),
        LogFormat::Json => {
            Box::new(builder.json().flatten_event(true).finish().with(filter_fn(tells_no_prompt)))
        }
    })
}

/// AWS's crates show whole requests and answers at the level `trace`, whatever filter is set.
fn tells_no_prompt(metadata: &Metadata<'_>) -> bool {
    *metadata.level() < Level::TRACE || !metadata.target().starts_with(AWS)
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().expect("no writer panics").write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn no_filter_shows_the_requests_that_are_sent_to_aws() {
        for format in [LogFormat::Text, LogFormat::Json] {
            let lines = Lines::default();
            let writer = lines.clone();
            let config = LogConfig { filter: "trace,aws_smithy_runtime=trace".to_owned(), format };
            let subscriber = subscriber(&config, false, move || writer.clone()).expect("the filter is one");
            tracing::subscriber::with_default(subscriber, || {
                tracing::trace!(target: "aws_smithy_runtime::client", request = "a prompt");
                tracing::debug!(target: "aws_smithy_runtime::client", "an attempt");
                tracing::trace!(target: "spillway", "a decision");
            });
            let bytes = lines.0.lock().expect("no writer panics").clone();
            let text = String::from_utf8(bytes).expect("logs are UTF-8");
            assert!(!text.contains("a prompt"), "{text}");
            assert!(text.contains("an attempt") && text.contains("a decision"), "{text}");
        }
    }
}
