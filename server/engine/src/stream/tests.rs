//! Streams of a tiny tokenizer: what a reader sees of the engine's updates.

use std::task::Waker;

use spillway_text::{Ends, TokenizerConfig};
use spillway_types::{Sampling, Seed};

use super::*;

const TOKENIZER: &[u8] = include_bytes!("../../../../tests/golden/tiny/tied/tokenizer.json");
const REQUEST: RequestId = RequestId(7);

/// A stream of `n` choices, and the ends that the engine would hold.
struct Rig {
    tokenizer: Arc<Tokenizer>,
    updates: Option<mpsc::UnboundedSender<Update>>,
    control: flume::Receiver<Control>,
    stream: EventStream,
}

fn rig(n: u64, stop: &[&str]) -> Rig {
    rig_with(n, stop, SamplingParams::new(Sampling::Greedy, Seed(0)))
}

fn rig_with(n: u64, stop: &[&str], params: SamplingParams) -> Rig {
    let tokenizer = Tokenizer::from_hf_json(TOKENIZER, &TokenizerConfig::default()).expect("a tokenizer");
    let tokenizer = Arc::new(tokenizer);
    let (update_sender, updates) = mpsc::unbounded_channel();
    let (control_sender, control) = flume::unbounded();
    let stream = EventStream::new(StreamParts {
        request_id: REQUEST,
        updates,
        control: control_sender,
        tokenizer: Arc::clone(&tokenizer),
        prompt_tokens: 3,
        prompt_text: None,
        seq_ids: (0..n).map(SeqId).collect(),
        model_end_tokens: Arc::from([TokenId(2)]),
        params: SamplingParams { stop: stop.iter().map(ToString::to_string).collect(), ..params },
    });
    Rig { tokenizer, updates: Some(update_sender), control, stream }
}

impl Rig {
    fn tokens(&self, text: &str) -> Vec<TokenId> {
        self.tokenizer.encode_text(text, Ends::Omit).expect("text has tokens")
    }

    /// Sends one update for each token of `text`; the last one bears `finish`.
    fn send(&self, choice: u32, text: &str, finish: Option<FinishReason>) {
        let tokens = self.tokens(text);
        let last = tokens.len() - 1;
        for (index, token) in tokens.into_iter().enumerate() {
            let finish = finish.filter(|_| index == last);
            self.update(Update::Tokens { choice, tokens: vec![scored(token)], finish });
        }
    }

    fn update(&self, update: Update) {
        self.updates.as_ref().expect("the engine is there").send(update).expect("the stream listens");
    }

    /// Everything that can be read now.
    fn read(&mut self) -> Vec<Result<GenerateEvent, EngineError>> {
        let mut ctx = Context::from_waker(Waker::noop());
        let mut events = Vec::new();
        while let Poll::Ready(Some(event)) = Pin::new(&mut self.stream).poll_next(&mut ctx) {
            events.push(event);
        }
        events
    }
}

fn scored(token: TokenId) -> ScoredToken {
    ScoredToken { token, logprob: -0.5, ranking: None }
}

/// Text, ends and usage of what was read.
fn summary(events: &[Result<GenerateEvent, EngineError>]) -> String {
    let mut text = String::new();
    let mut ends = String::new();
    for event in events {
        let end = match event {
            Ok(GenerateEvent::Started { prompt_tokens, .. }) => {
                format!(" started {}", prompt_tokens.expect("an engine knows it"))
            }
            Ok(event @ (GenerateEvent::Reasoning(_) | GenerateEvent::ToolCall(_))) => {
                panic!("an engine makes text alone: {event:?}")
            }
            Ok(GenerateEvent::Prompt { prompt, .. }) => format!(" prompt {:?}", prompt.text),
            Ok(GenerateEvent::PromptScored { tokens, .. }) => format!(" scored {}", tokens.len()),
            Ok(GenerateEvent::Delta(delta)) => {
                text.push_str(&delta.text);
                continue;
            }
            Ok(GenerateEvent::Finished { choice, reason, stop }) => match stop {
                None => format!(" {choice}:{}", reason.as_str()),
                Some(stop) => format!(" {choice}:{}({stop:?})", reason.as_str()),
            },
            Ok(GenerateEvent::Done(usage)) => {
                format!(" done {}/{}", usage.cached_tokens, usage.completion_tokens)
            }
            Err(error) => format!(" error: {error}"),
        };
        ends.push_str(&end);
    }
    format!("{text:?}{ends}")
}

#[test]
fn tokens_become_text_and_usage() {
    let mut rig = rig(1, &[]);
    let num_tokens = rig.tokens("a dam, überlaufend").len();
    rig.update(Update::Admitted { cached_tokens: 2 });
    rig.send(0, "a dam, überlaufend", Some(FinishReason::Length));
    assert_eq!(
        summary(&rig.read()),
        format!("\"a dam, überlaufend\" started 3 0:length done 2/{num_tokens}")
    );
}

#[test]
fn the_token_that_ends_an_answer_is_counted_but_is_no_text() {
    let mut rig = rig(1, &[]);
    rig.send(0, "ab", None);
    let end = rig.tokens("z")[0];
    rig.update(Update::Tokens { choice: 0, tokens: vec![scored(end)], finish: Some(FinishReason::Stop) });
    let num_tokens = rig.tokens("ab").len() + 1;
    assert_eq!(summary(&rig.read()), format!("\"ab\" started 3 0:stop done 0/{num_tokens}"));
}

#[test]
fn a_stop_string_over_several_tokens_is_never_leaked() {
    let mut rig = rig(1, &["<stop>"]);
    rig.send(0, "one <sto two <stop> three", None);
    let text = summary(&rig.read());
    assert!(text.starts_with("\"one <sto two \" started 3 0:stop(Text(\"<stop>\")) done 0/"), "{text}");
    assert!(matches!(rig.control.try_recv(), Ok(Control::Finish(SeqId(0)))));
}

#[test]
fn text_held_for_a_stop_string_is_shown_when_none_comes() {
    let mut rig = rig(1, &["<stop>"]);
    rig.send(0, "one <sto", Some(FinishReason::Length));
    assert!(summary(&rig.read()).starts_with("\"one <sto\""));
}

#[test]
fn the_stream_is_done_with_its_last_choice() {
    let mut rig = rig(2, &[]);
    rig.send(1, "x", Some(FinishReason::Length));
    assert!(!summary(&rig.read()).contains("done"));
    rig.send(0, "y", Some(FinishReason::Length));
    let rest = summary(&rig.read());
    assert!(rest.contains("0:length done"), "{rest}");
    drop(rig.stream);
    assert!(rig.control.try_recv().is_err(), "a stream that was read to its end aborts nothing");
}

#[test]
fn a_dropped_stream_aborts_its_request() {
    let Rig { stream, control, .. } = rig(1, &[]);
    drop(stream);
    assert!(matches!(control.try_recv(), Ok(Control::Abort(REQUEST))));
}

#[test]
fn a_failed_step_and_a_lost_engine_are_errors() {
    let mut failed = rig(1, &[]);
    failed.update(Update::Failed {
        error: EngineError::StepFailed { request_id: REQUEST, message: "broke".to_owned() },
    });
    assert!(summary(&failed.read()).contains("error: request 7 failed in a step: broke"));
    let mut lost = rig(1, &[]);
    lost.updates = None;
    assert!(summary(&lost.read()).contains("error: engine has stopped"));
}

#[test]
fn a_stop_string_is_shown_if_asked_and_not_looked_for_too_early() {
    let asked = SamplingParams::new(Sampling::Greedy, Seed(0));
    let mut shown = rig_with(1, &["<stop>"], SamplingParams { include_stop: true, ..asked.clone() });
    shown.send(0, "a <stop> b", None);
    let text = summary(&shown.read());
    assert!(text.starts_with("\"a <stop>\" started 3 0:stop(Text("), "{text}");

    let min_tokens = shown.tokens("a <stop> ").len() as u32;
    let mut early = rig_with(1, &["<stop>"], SamplingParams { min_tokens, ..asked });
    early.send(0, "a <stop> b <stop> c", None);
    let text = summary(&early.read());
    assert!(text.starts_with("\"a <stop> b \" started 3 0:stop(Text("), "{text}");
}

#[test]
fn a_stop_string_counts_from_the_first_token_past_the_least_number() {
    let asked = SamplingParams::new(Sampling::Greedy, Seed(0));
    let num_tokens = rig(1, &[]).tokens("a <stop>").len() as u32;
    for (min_tokens, shown) in [(num_tokens - 1, "\"a \" "), (num_tokens, "\"a <stop> b \" ")] {
        let mut rig = rig_with(1, &["<stop>"], SamplingParams { min_tokens, ..asked.clone() });
        rig.send(0, "a <stop> b <stop> c", None);
        let text = summary(&rig.read());
        assert!(text.starts_with(shown), "{min_tokens} of {num_tokens}: {text}");
    }
}

#[test]
fn the_token_that_ends_an_answer_is_text_if_asked() {
    let params = SamplingParams { include_stop: true, ..SamplingParams::new(Sampling::Greedy, Seed(0)) };
    let mut rig = rig_with(1, &[], params);
    rig.send(0, "ab", None);
    rig.send(0, "z", Some(FinishReason::Stop));
    let text = summary(&rig.read());
    assert!(text.starts_with("\"abz\" started 3 0:stop done"), "{text}");
}

/// Goal: the model's own end is no match, a token that the client named is. Method: both end the sequence.
#[test]
fn a_stop_token_is_told_and_the_models_end_is_not() {
    for (token, expected) in [(2, "0:stop done"), (5, "0:stop(Token(TokenId(5))) done")] {
        let stop_tokens = vec![TokenId(2), TokenId(5)];
        let params = SamplingParams { stop_tokens, ..SamplingParams::new(Sampling::Greedy, Seed(0)) };
        let mut rig = rig_with(1, &[], params);
        let tokens = vec![scored(TokenId(token))];
        rig.update(Update::Tokens { choice: 0, tokens, finish: Some(FinishReason::Stop) });
        let text = summary(&rig.read());
        assert!(text.contains(expected), "{text}");
    }
}
