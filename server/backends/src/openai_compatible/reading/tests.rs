//! Chunks and answers as servers send them.

use super::*;

fn read(num_choices: u32, chunks: &[&str]) -> Result<Vec<GenerateEvent>, Fault> {
    let mut reader = Reader::new(num_choices);
    let mut events = Vec::new();
    for chunk in chunks {
        reader.read(chunk.as_bytes(), &mut events)?;
    }
    events.push(reader.end()?);
    Ok(events)
}

fn text(choice: u32, text: &str) -> GenerateEvent {
    GenerateEvent::Delta(TextDelta { choice, text: text.to_owned(), tokens: Vec::new() })
}

fn finished(choice: u32, reason: FinishReason) -> GenerateEvent {
    GenerateEvent::Finished { choice, reason, stop: None }
}

fn usage(prompt_tokens: u32, cached_tokens: u32, completion_tokens: u32) -> GenerateEvent {
    GenerateEvent::Done(Usage { prompt_tokens, cached_tokens, cache_write_tokens: 0, completion_tokens })
}

const USAGE: &str = r#"{"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":2,"total_tokens":11,
    "prompt_tokens_details":{"cached_tokens":8}}}"#;

#[test]
fn chunks_become_events_in_their_order() {
    let events = read(
        1,
        &[
            r#"{"choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}]}"#,
            r#"{"choices":[{"index":0,"delta":{"reasoning_content":"hm"}}]}"#,
            r#"{"choices":[{"index":0,"delta":{"content":"Hé"}}],"usage":null}"#,
            r#"{"choices":[{"index":0,"delta":{},"finish_reason":"stop","stop_reason":"END"}]}"#,
            USAGE,
        ],
    );
    let thought = ReasoningDelta { choice: 0, text: "hm".into(), signature: None, redacted: None };
    let stop = Some(StopMatch::Text("END".into()));
    let wanted = vec![
        GenerateEvent::Reasoning(thought),
        text(0, "Hé"),
        GenerateEvent::Finished { choice: 0, reason: FinishReason::Stop, stop },
        usage(9, 8, 2),
    ];
    assert_eq!(events, Ok(wanted));
}

#[test]
fn a_whole_answer_gives_the_events_of_a_stream() {
    let events = read(
        2,
        &[r#"{"object":"chat.completion","choices":[
            {"index":1,"message":{"role":"assistant","content":"b","refusal":null},"finish_reason":"length"},
            {"index":0,"message":{"role":"assistant","content":null,"tool_calls":[
                {"id":"x","type":"function","function":{"name":"f","arguments":"{}"}},
                {"id":"y","type":"function","function":{"name":"g","arguments":"{\"a\":1}"}}]},
             "finish_reason":"tool_calls"}],
            "usage":{"prompt_tokens":3,"completion_tokens":4,"total_tokens":7,"prompt_tokens_details":null}}"#],
    );
    let call = |call, id: &str, name: &str, arguments: &str| {
        let opening = Some((id.to_owned(), name.to_owned()));
        GenerateEvent::ToolCall(ToolCallDelta { choice: 0, call, opening, arguments: arguments.to_owned() })
    };
    let wanted = vec![
        text(1, "b"),
        finished(1, FinishReason::Length),
        call(0, "x", "f", "{}"),
        call(1, "y", "g", "{\"a\":1}"),
        finished(0, FinishReason::ToolCalls),
        usage(3, 0, 4),
    ];
    assert_eq!(events, Ok(wanted));
}

#[test]
fn fragments_of_calls_are_opened_once_and_kept_apart() {
    let fragment =
        |calls: &str| format!(r#"{{"choices":[{{"index":0,"delta":{{"tool_calls":[{calls}]}}}}]}}"#);
    let mut reader = Reader::new(1);
    let mut events = Vec::new();
    for calls in [
        r#"{"index":0,"id":"x","type":"function","function":{"name":"f","arguments":""}}"#,
        r#"{"index":0,"id":"x","function":{"name":"f","arguments":"{\"a\""}}"#,
        r#"{"index":1,"function":{"name":"g","arguments":"{}"}}"#,
        r#"{"index":0,"function":{"arguments":":1}"}}"#,
        r#"{"index":0,"function":{"arguments":""}}"#,
    ] {
        reader.read(fragment(calls).as_bytes(), &mut events).expect("well formed");
    }
    let told: Vec<_> = events
        .into_iter()
        .map(|event| match event {
            GenerateEvent::ToolCall(ToolCallDelta { call, opening, arguments, .. }) => {
                (call, opening, arguments)
            }
            other => panic!("{other:?}"),
        })
        .collect();
    let opening = |id: &str, name: &str| Some((id.to_owned(), name.to_owned()));
    let wanted = vec![
        (0, opening("x", "f"), String::new()),
        (0, None, "{\"a\"".to_owned()),
        (1, opening("call_0_1", "g"), "{}".to_owned()),
        (0, None, ":1}".to_owned()),
    ];
    assert_eq!(told, wanted);
    let stray = fragment(r#"{"index":7,"function":{"arguments":"{}"}}"#);
    let fault = reader.read(stray.as_bytes(), &mut Vec::new()).expect_err("it was not begun");
    assert_eq!(fault.class, ErrorClass::Malformed);
}

#[test]
fn tokens_are_read_in_the_forms_of_both_endpoints() {
    let chat = r#"{"choices":[{"index":0,"delta":{"content":"é!"},"logprobs":{"content":[
        {"token":"é","logprob":-0.5,"bytes":[195,169],"top_logprobs":[
            {"token":"e","logprob":-0.25,"bytes":[101]},{"token":"é","logprob":-0.5,"bytes":[195,169]}]},
        {"id":7,"token":"!","logprob":-1.5,"bytes":null,"top_logprobs":null}]}}]}"#;
    let completion = r#"{"choices":[{"index":0,"text":"é!","logprobs":{"text_offset":[0,1],"tokens":["é","!"],
        "token_logprobs":[-0.5,-1.5],"top_logprobs":[{"é":-0.5,"e":-0.25},null]}}]}"#;
    let tokens = |chunk: &str| {
        let mut events = Vec::new();
        Reader::new(1).read(chunk.as_bytes(), &mut events).expect("well formed");
        let [GenerateEvent::Delta(delta)] = &events[..] else { panic!("{events:?}") };
        delta.tokens.clone()
    };
    let mut of_chat = tokens(chat);
    assert_eq!(of_chat[1].token, Some(TokenId(7)), "llama.cpp tells it");
    of_chat[1].token = None;
    assert_eq!(of_chat, tokens(completion));
    let first = of_chat[0].detail.as_ref().expect("it was told");
    assert_eq!((first.rank, first.text_offset, &first.top[0].bytes[..]), (2, 0, &b"e"[..]));
    let second = of_chat[1].detail.as_ref().expect("it was told");
    assert_eq!((second.rank, second.text_offset, &second.bytes[..]), (1, 1, &b"!"[..]));
}

#[test]
fn what_does_not_come_to_its_end_is_no_answer() {
    let begun = r#"{"choices":[{"index":0,"delta":{"content":"a"}}]}"#;
    let ended = r#"{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}"#;
    let again = r#"{"choices":[{"index":0,"delta":{"content":"b"}}]}"#;
    for (chunks, class) in [
        (&[][..], ErrorClass::EmptyAnswer),
        (&[USAGE], ErrorClass::EmptyAnswer),
        (&[begun, USAGE], ErrorClass::MissingEnd),
        (&[begun, ended], ErrorClass::MissingEnd),
        (&[begun, ended, again], ErrorClass::Malformed),
        (&[r#"{"choices":[{"index":1,"delta":{"content":"a"}}]}"#], ErrorClass::Malformed),
        (&["{\"choices\":"], ErrorClass::Malformed),
        (
            &[begun, r#"{"choices":[{"index":0,"delta":{},"finish_reason":"abort"}]}"#],
            ErrorClass::Unavailable,
        ),
        (&[begun, r#"{"choices":[{"index":0,"delta":{},"finish_reason":"odd"}]}"#], ErrorClass::Malformed),
        (&[r#"{"error":{"message":"x","code":429}}"#], ErrorClass::Throttled),
        (
            &[r#"{"object":"error","message":"x","type":"InternalServerError","code":500}"#],
            ErrorClass::Internal,
        ),
    ] {
        assert_eq!(read(1, chunks).expect_err("it broke off").class, class, "{chunks:?}");
    }
    // A reason that is repeated with the usage is one end.
    assert!(read(1, &[begun, ended, ended, USAGE]).is_ok());
}
