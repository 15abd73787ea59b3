//! Stop strings: met wherever they begin and end, never seen by the client.

use serde_json::{Value, json};
use spillway_tests::{Server, Streamed};

use super::requests::{COMPLETIONS, greedy, tiny_server, with};

const NUM_TOKENS: u32 = 120;

/// The text that a tiny model goes on with, and the piece of text of each token, as a stream brings them.
async fn undisturbed(server: &Server) -> (String, Vec<String>) {
    let streamed = server.stream(COMPLETIONS, &greedy("The river", NUM_TOKENS)).await;
    let pieces: Vec<String> = streamed
        .chunks
        .iter()
        .filter_map(|chunk| chunk["choices"][0]["text"].as_str())
        .filter(|text| !text.is_empty())
        .map(str::to_owned)
        .collect();
    assert!(pieces.len() > 20, "the stream came token by token: {pieces:?}");
    (streamed.texts()[0].clone(), pieces)
}

async fn stopped(server: &Server, stop: Value) -> Streamed {
    let request = with(greedy("The river", NUM_TOKENS), json!({"stop": stop}));
    let streamed = server.stream(COMPLETIONS, &request).await;
    let whole = server.post(COMPLETIONS, &request).await;
    assert_eq!(whole.texts(), streamed.texts(), "stop {stop}");
    assert_eq!(Some(whole.finish_reason()), streamed.choices[&0].1, "stop {stop}");
    streamed
}

#[tokio::test]
async fn an_answer_ends_before_a_stop_string_wherever_tokens_end() {
    let server = tiny_server(&[]).await;
    let (text, pieces) = undisturbed(&server).await;
    // A string from the middle of each of two neighbouring tokens crosses their border.
    let mut num_crossing = 0;
    for pair in pieces.windows(2).filter(|pair| pair.iter().all(|piece| piece.chars().count() >= 2)).take(12)
    {
        let begin: String = pair[0].chars().skip(1).collect();
        let end = pair[1].chars().next().expect("a piece has text");
        let stop = format!("{begin}{end}");
        let at = text.find(&stop).expect("it is in the text");
        let streamed = stopped(&server, json!(stop)).await;
        assert_eq!(streamed.texts()[0], text[..at], "stop {stop:?}");
        assert_eq!(streamed.choices[&0].1.as_deref(), Some("stop"), "stop {stop:?}");
        num_crossing += 1;
    }
    assert!(num_crossing > 2, "too few stop strings crossed a border: {pieces:?}");
}

#[tokio::test]
async fn the_earliest_of_several_stop_strings_counts() {
    let server = tiny_server(&[]).await;
    let (text, _) = undisturbed(&server).await;
    let part = |begin: usize, length: usize| text.chars().skip(begin).take(length).collect::<String>();
    let (early, late) = (part(30, 3), part(70, 3));
    let at = text.find(&early).expect("it is in the text").min(text.find(&late).expect("it is in the text"));
    for stop in [json!([late, early]), json!([early, late, "not in the text at all"])] {
        assert_eq!(stopped(&server, stop).await.texts()[0], text[..at]);
    }
}

#[tokio::test]
async fn text_that_only_looks_like_a_stop_string_is_not_lost() {
    let server = tiny_server(&[]).await;
    let (text, _) = undisturbed(&server).await;
    // It begins as the text ends, and then goes on otherwise: it is held back to the last moment, then given out.
    let tail: String = text.chars().skip(text.chars().count() - 5).collect();
    let streamed = stopped(&server, json!(format!("{tail}~and never this"))).await;
    assert_eq!(
        (streamed.texts()[0].as_str(), streamed.choices[&0].1.as_deref()),
        (text.as_str(), Some("length"))
    );
}

#[tokio::test]
async fn a_stop_string_ends_its_choice_only() {
    let server = tiny_server(&[]).await;
    let request = json!({"prompt": "The river", "max_tokens": 60, "seed": 4, "n": 6, "ignore_eos": true});
    let free = server.post(COMPLETIONS, &request).await.texts();
    let stop: String = free[2].chars().skip(20).take(3).collect();
    let reply = server.post(COMPLETIONS, &with(request, json!({"stop": [stop]}))).await;
    let cut: Vec<String> =
        free.iter().map(|text| text[..text.find(&stop).unwrap_or(text.len())].to_owned()).collect();
    assert_eq!(reply.texts(), cut);
    assert!(cut[2].len() < free[2].len());
    assert!(cut.iter().zip(&free).any(|(cut, free)| cut == free), "another choice goes on to its end");
    server.until_metric("vllm:kv_cache_usage_perc", "", 0.0).await;
}

#[tokio::test]
async fn tokens_after_a_stop_string_are_not_counted() {
    let server = tiny_server(&[]).await;
    let (text, pieces) = undisturbed(&server).await;
    let stop =
        pieces.iter().find(|piece| text.find(piece.as_str()) == Some(pieces[0].len())).unwrap_or(&pieces[1]);
    let reply = server.post(COMPLETIONS, &with(greedy("The river", NUM_TOKENS), json!({"stop": stop}))).await;
    let counted = reply.usage("/completion_tokens");
    assert!((1..10).contains(&counted), "{counted} tokens for {:?} with stop {stop:?}", reply.texts());
}
