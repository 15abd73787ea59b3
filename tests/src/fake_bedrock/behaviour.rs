//! What a model's name says that it does.

use std::time::Duration;

use super::refusal::{self, Refusal};

/// What a model does.
///
/// Its name is `fake.` and one of the names below, after the prefix of an inference profile if there is one. A moment is
/// `before` any content or `after` some of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Behaviour {
    /// `plain`: eight words.
    Plain,
    /// `words-N`: so many words.
    Words(u32),
    /// `echo`: what the user said last.
    Echo,
    /// `tool`: calls the first tool, although it need not.
    Tool,
    /// `thinker`: thinks, signs it, and answers.
    Thinker,
    /// `cached`: has half of the prompt in its cache, and writes ten tokens there.
    Cached,
    /// `KIND-http`, `KIND-http-wait` with 1500 ms in `x-amz-retry-after`, `KIND-http-wait-seconds` with 2 in
    /// `Retry-After`; the kinds are those of [`Refusal::named`].
    Refuse(Refusal),
    /// `KIND-frame-MOMENT`: the same as an exception in the stream.
    Exception(Refusal, Moment),
    /// `no-events`: a good status, and nothing.
    NoEvents,
    /// `no-content`: a message without a word, and no token.
    NoContent,
    /// `html`: a page with a good status; `bad-gateway`: one with 502.
    Page(u16),
    /// `bad-crc-MOMENT`: an event with a wrong checksum.
    BadChecksum(Moment),
    /// `truncated-MOMENT`: half an event, then a clean end.
    Truncated(Moment),
    /// `cut`: some content, then a clean end.
    Cut,
    /// `no-metadata`: an answer without its usage.
    NoMetadata,
    /// `metadata-first`: the usage before the message has ended.
    MetadataFirst,
    /// `silent-headers`: not even a status; `silent-MOMENT`: nothing more, until it is released or the client leaves.
    Silent(Option<Moment>),
    /// `silent-end`: all but the usage, then silence.
    SilentEnd,
    /// `drip-MS`: a word every so many milliseconds, without end.
    Drip(Duration),
    /// `reset-headers`, `reset-MOMENT`: the connection breaks.
    Reset(Option<Moment>),
    /// `stop-REASON`: an answer that ends for this reason, with `_` as Bedrock writes it.
    Stop(String),
}

/// When something happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// Before any content.
    Before,
    /// After some.
    After,
}

/// What a name says: a behaviour, perhaps only at first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Named {
    pub(super) behaviour: Behaviour,
    /// `flaky-N-NAME`: the first N calls do so, and those after them are plain.
    pub(super) num_times: Option<u64>,
}

impl Named {
    /// Reads a model's name.
    pub(super) fn parse(model: &str) -> Option<Self> {
        let (_, name) = model.split_once("fake.")?;
        if let Some(rest) = name.strip_prefix("flaky-") {
            let (num_times, name) = rest.split_once('-')?;
            return Some(Self { behaviour: parse(name)?, num_times: Some(num_times.parse().ok()?) });
        }
        Some(Self { behaviour: parse(name)?, num_times: None })
    }
}

fn parse(name: &str) -> Option<Behaviour> {
    if let Some(behaviour) = parse_whole(name) {
        return Some(behaviour);
    }
    if let Some(number) = name.strip_prefix("words-") {
        return Some(Behaviour::Words(number.parse().ok()?));
    }
    if let Some(number) = name.strip_prefix("drip-") {
        return Some(Behaviour::Drip(Duration::from_millis(number.parse().ok()?)));
    }
    if let Some(reason) = name.strip_prefix("stop-") {
        return Some(Behaviour::Stop(reason.to_owned()));
    }
    for (suffix, wait) in [
        ("-http", refusal::Wait::Untold),
        ("-http-wait", refusal::Wait::Milliseconds(1500)),
        ("-http-wait-seconds", refusal::Wait::Seconds(2)),
    ] {
        if let Some(refusal) = name.strip_suffix(suffix).and_then(Refusal::named) {
            return Some(Behaviour::Refuse(Refusal { wait, ..refusal }));
        }
    }
    let (name, moment) = match name.strip_suffix("-before") {
        Some(name) => (name, Moment::Before),
        None => (name.strip_suffix("-after")?, Moment::After),
    };
    match name {
        "bad-crc" => Some(Behaviour::BadChecksum(moment)),
        "truncated" => Some(Behaviour::Truncated(moment)),
        "silent" => Some(Behaviour::Silent(Some(moment))),
        "reset" => Some(Behaviour::Reset(Some(moment))),
        _ => Some(Behaviour::Exception(Refusal::named(name.strip_suffix("-frame")?)?, moment)),
    }
}

fn parse_whole(name: &str) -> Option<Behaviour> {
    Some(match name {
        "plain" => Behaviour::Plain,
        "echo" => Behaviour::Echo,
        "tool" => Behaviour::Tool,
        "thinker" => Behaviour::Thinker,
        "cached" => Behaviour::Cached,
        "no-events" => Behaviour::NoEvents,
        "no-content" => Behaviour::NoContent,
        "html" => Behaviour::Page(200),
        "bad-gateway" => Behaviour::Page(502),
        "cut" => Behaviour::Cut,
        "no-metadata" => Behaviour::NoMetadata,
        "metadata-first" => Behaviour::MetadataFirst,
        "silent-headers" => Behaviour::Silent(None),
        "silent-end" => Behaviour::SilentEnd,
        "reset-headers" => Behaviour::Reset(None),
        _ => return None,
    })
}
