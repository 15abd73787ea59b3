//! Conversations as they come in, and what is wrong with some.

use serde_json::json;
use spillway_types::{Image, ImageFormat};

use super::*;

const PNG: &str = "data:image/png;base64,iVBORw0KGgo=";

fn read(messages: Value) -> Result<Vec<ChatMessage>, String> {
    let messages: Vec<Message> = serde_json::from_value(messages).expect("they have the right types");
    conversation(messages).map(|prompt| prompt.messages).map_err(|error| error.to_string())
}

fn user(content: &Value) -> Value {
    json!([{"role": "user", "content": content}])
}

fn picture() -> Value {
    json!({"type": "image_url", "image_url": {"url": PNG}})
}

fn text(text: &str) -> Value {
    json!({"type": "text", "text": text})
}

#[test]
fn text_parts_are_joined_by_line_feeds() {
    let expected = ChatMessage::new(Role::User, "a\nb");
    assert_eq!(read(user(&json!([text("a"), text("b")]))), Ok(vec![expected]));
    assert!(read(json!([])).is_err());
}

#[test]
fn pictures_stand_where_they_stood_between_the_texts() {
    for (parts, content, offsets) in [
        (json!([picture(), text("ab")]), "ab", vec![0]),
        (json!([text("ab"), picture()]), "ab", vec![2]),
        (json!([text("ab"), picture(), picture(), text("c")]), "ab\nc", vec![3, 3]),
        (json!([picture()]), "", vec![0]),
    ] {
        let messages = read(user(&parts)).expect("it is sound");
        assert_eq!(messages[0].content, content);
        let found: Vec<usize> = messages[0].images.iter().map(|image| image.offset).collect();
        assert_eq!(found, offsets, "{parts}");
    }
    let messages = read(user(&json!([picture()]))).expect("it is sound");
    let png = Image { format: ImageFormat::Png, bytes: b"\x89PNG\r\n\x1a\n"[..].into() };
    assert_eq!(messages[0].images[0].image, png);
}

#[test]
fn pictures_are_the_users_and_not_too_many() {
    let system = json!([{"role": "system", "content": [text("a"), picture()]}]);
    let expected = "`messages[0].content[1]` is only for messages of role `user`, this is `system`";
    assert_eq!(read(system), Err(expected.to_owned()));
    let many = vec![picture(); MAX_IMAGES + 1];
    let expected = "`messages` has more than 100 pictures: send fewer";
    assert_eq!(read(user(&json!(many))), Err(expected.to_owned()));
    let address = json!([{"type": "image_url", "image_url": {"url": "http://10.0.0.1/"}}]);
    let message = read(user(&address)).expect_err("nothing is fetched");
    assert!(message.starts_with("`messages[0].content[0].image_url.url` is an address"), "{message}");
}

fn calling(ids: &[&str]) -> Value {
    let call = |id| json!({"id": id, "type": "function", "function": {"name": "add", "arguments": "{}"}});
    json!({"role": "assistant", "tool_calls": ids.iter().map(call).collect::<Vec<_>>()})
}

fn answering(id: &str) -> Value {
    json!({"role": "tool", "content": "3", "tool_call_id": id})
}

#[test]
fn a_tool_answers_a_call_that_is_open() {
    let sound = [
        vec![calling(&["a", "b"]), answering("b"), answering("a")],
        vec![calling(&["a"]), answering("a"), calling(&["a"]), answering("a")],
        vec![calling(&["a"])],
    ];
    for messages in sound {
        read(json!(messages)).expect("every answer has its call");
    }
    let open = "names no call of an assistant above that is still to be answered";
    for (messages, expected) in [
        (vec![answering("a")], format!("`messages[0].tool_call_id` {open}")),
        (vec![calling(&["a"]), answering("b")], format!("`messages[1].tool_call_id` {open}")),
        (vec![calling(&["a"]), answering("a"), answering("a")], format!("`messages[2].tool_call_id` {open}")),
        (
            vec![calling(&["a", "a"])],
            "`messages[0].tool_calls[1].id` is that of another call of the message: give each its own"
                .to_owned(),
        ),
        (
            vec![calling(&["a"]), json!({"role": "tool", "content": "3"})],
            "`messages[1].tool_call_id` is missing".to_owned(),
        ),
    ] {
        assert_eq!(read(json!(messages)), Err(expected));
    }
}

#[test]
fn a_call_without_arguments_may_say_nothing() {
    let mut call = calling(&["a"]);
    call["tool_calls"][0]["function"]["arguments"] = json!("");
    let messages = read(json!([call])).expect("it is sound");
    let calls = messages[0].tool_calls.as_ref().expect("it called").as_str();
    assert!(calls.contains(r#""arguments":{}"#), "{calls}");
}

fn thinking(fields: &Value) -> Result<Vec<ReasoningPart>, String> {
    let mut message = json!({"role": "assistant", "content": "3"});
    for (name, value) in fields.as_object().expect("an object") {
        message[name] = value.clone();
    }
    read(json!([message])).map(|messages| messages[0].reasoning.clone())
}

#[test]
fn what_was_thought_comes_back_with_its_signatures() {
    let words = |text: &str, signature: Option<&str>| ReasoningPart::Text {
        text: text.to_owned(),
        signature: signature.map(str::to_owned),
    };
    let blocks = json!([
        {"type": "thinking", "thinking": "so", "signature": "s"},
        {"type": "redacted_thinking", "data": "eA=="},
        {"type": "thinking", "thinking": "on"},
    ]);
    let parts = vec![words("so", Some("s")), ReasoningPart::Redacted("eA==".to_owned()), words("on", None)];
    assert_eq!(thinking(&json!({"reasoning_content": "so"})), Ok(vec![words("so", None)]));
    assert_eq!(thinking(&json!({"thinking_blocks": blocks})), Ok(parts.clone()));
    assert_eq!(thinking(&json!({"thinking_blocks": blocks, "reasoning_content": "soon"})), Ok(parts));
    let message = thinking(&json!({"thinking_blocks": blocks, "reasoning_content": "other"}));
    assert!(message.is_err_and(|message| message.contains("has other words than `thinking_blocks`")));
}

#[test]
fn only_an_assistant_thinks() {
    let message = read(json!([{"role": "user", "content": "a", "reasoning_content": "b"}]));
    let expected = "`messages[0].reasoning_content` is only for messages of role `assistant`, this is `user`";
    assert_eq!(message, Err(expected.to_owned()));
}
