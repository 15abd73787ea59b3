//! What happens on the wire, step by step, for an answer that comes as events.

use std::time::Duration;

use super::answer::Answer;
use super::behaviour::{Behaviour, Moment};
use super::frames::{self, Frame};
use super::log::CallEnd;

/// Frames of content after which it is `after` some of it: two words.
const SOME_FRAMES: usize = 2;

/// A step.
#[derive(Debug, Clone)]
pub(super) enum Step {
    /// Sends a frame.
    Send(Frame),
    /// Waits until released.
    Hold,
    /// Waits for a moment.
    Pause(Duration),
    /// Breaks the connection.
    Reset,
}

/// Steps, and how the call then ends.
#[derive(Debug, Clone)]
pub(super) struct Script {
    pub(super) steps: Vec<Step>,
    pub(super) end: CallEnd,
}

impl Script {
    /// The steps of an answer.
    pub(super) fn new(answer: &Answer, behaviour: &Behaviour) -> Self {
        let content: Vec<Frame> =
            answer.blocks.iter().enumerate().flat_map(|(index, block)| frames::block(index, block)).collect();
        let some = |moment: Moment| {
            let num_frames = match moment {
                Moment::Before => 0,
                Moment::After => SOME_FRAMES,
            };
            let content = content.iter().take(num_frames).cloned();
            std::iter::once(frames::start()).chain(content).map(Step::Send).collect::<Vec<_>>()
        };
        let rest = |moment: Moment| {
            let num_sent = if moment == Moment::Before { 0 } else { SOME_FRAMES };
            let ending = [frames::stop(&answer.stop_reason), frames::metadata(&answer.usage())];
            content.iter().skip(num_sent).cloned().chain(ending).map(Step::Send).collect::<Vec<_>>()
        };
        let broken = |steps| Self { steps, end: CallEnd::Broken };
        let complete = |steps| Self { steps, end: CallEnd::Complete };
        match behaviour {
            Behaviour::NoEvents => broken(Vec::new()),
            Behaviour::Cut => broken(some(Moment::After)),
            Behaviour::Exception(refusal, moment) => {
                broken(with(some(*moment), [Step::Send(frames::exception(refusal))]))
            }
            Behaviour::BadChecksum(moment) => {
                broken(with(some(*moment), [Step::Send(corrupt(next_frame(&content, *moment)))]))
            }
            Behaviour::Truncated(moment) => {
                broken(with(some(*moment), [Step::Send(half(next_frame(&content, *moment)))]))
            }
            Behaviour::Reset(moment) => broken(with(some(moment.unwrap_or(Moment::Before)), [Step::Reset])),
            Behaviour::Silent(moment) => {
                let moment = moment.unwrap_or(Moment::Before);
                complete(with(with(some(moment), [Step::Hold]), rest(moment)))
            }
            Behaviour::NoMetadata => {
                let mut steps = with(some(Moment::Before), rest(Moment::Before));
                steps.pop();
                broken(steps)
            }
            Behaviour::SilentEnd => {
                let mut steps = with(some(Moment::Before), rest(Moment::Before));
                let metadata = steps.pop();
                complete(with(with(steps, [Step::Hold]), metadata))
            }
            Behaviour::MetadataFirst => {
                let mut steps = with(some(Moment::Before), rest(Moment::Before));
                let last = steps.len() - 1;
                steps.swap(last - 1, last);
                broken(steps)
            }
            Behaviour::Drip(pause) => {
                let words = with(some(Moment::Before), rest(Moment::Before)).into_iter();
                complete(words.flat_map(|step| [Step::Pause(*pause), step]).collect())
            }
            _ => complete(with(some(Moment::Before), rest(Moment::Before))),
        }
    }
}

fn with(mut steps: Vec<Step>, more: impl IntoIterator<Item = Step>) -> Vec<Step> {
    steps.extend(more);
    steps
}

/// The frame that would come next.
fn next_frame(content: &[Frame], moment: Moment) -> Frame {
    let num_sent = if moment == Moment::Before { 0 } else { SOME_FRAMES };
    Frame { num_tokens: 0, ..content.get(num_sent).cloned().unwrap_or_else(frames::start) }
}

/// A frame with one bit of its last checksum turned.
fn corrupt(mut frame: Frame) -> Frame {
    if let Some(last) = frame.bytes.last_mut() {
        *last ^= 1;
    }
    frame
}

fn half(mut frame: Frame) -> Frame {
    frame.bytes.truncate(frame.bytes.len() / 2);
    frame
}
