//! Turns of a conversation as Bedrock wants them: the user begins, then each in turn.

use aws_sdk_bedrockruntime::types::{ContentBlock, ConversationRole, Message};

use super::fault::Refusal;
use super::images::MAX_IMAGES;
use super::traits::TurnRule;

/// What the user says where a conversation begins with the assistant, which Bedrock refuses.
const OPENING: &str = "(The conversation begins with your words.)";
/// What the assistant says between results of tools and words of the user, for models that want them in turns of their own.
const BRIDGE: &str = "(I have the results.)";

/// Turns, each of another role than the one before.
#[derive(Debug)]
pub(super) struct Turns {
    rule: TurnRule,
    turns: Vec<Turn>,
}

#[derive(Debug)]
struct Turn {
    role: ConversationRole,
    content: Content,
    blocks: Vec<ContentBlock>,
}

/// What blocks are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Content {
    /// Text, pictures, calls.
    Said,
    /// Results of tools.
    Results,
}

impl Turns {
    pub(super) fn new(rule: TurnRule) -> Self {
        Self { rule, turns: Vec::new() }
    }

    /// Adds what someone says, to the turn before if it is the same one's. Nothing said is no turn.
    pub(super) fn push(&mut self, role: &ConversationRole, content: Content, blocks: Vec<ContentBlock>) {
        if blocks.is_empty() {
            return;
        }
        match self.turns.last_mut() {
            Some(last) if last.role == *role => {
                if self.rule == TurnRule::Mixed || last.content == content {
                    last.blocks.extend(blocks);
                    return;
                }
                self.start(&ConversationRole::Assistant, Content::Said, vec![text(BRIDGE)]);
            }
            None if *role == ConversationRole::Assistant => {
                self.start(&ConversationRole::User, Content::Said, vec![text(OPENING)]);
            }
            Some(_) | None => {}
        }
        self.start(role, content, blocks);
    }

    fn start(&mut self, role: &ConversationRole, content: Content, blocks: Vec<ContentBlock>) {
        self.turns.push(Turn { role: role.clone(), content, blocks });
    }

    /// The messages, the last one of the user.
    pub(super) fn finish(self) -> Result<Vec<Message>, Refusal> {
        match self.turns.last() {
            None => {
                let message = "`messages` has no text for the model: add a message of the user";
                return Err(Refusal::new("messages", message));
            }
            Some(last) if last.role == ConversationRole::Assistant => {
                let message = "the last message is the assistant's, and Bedrock would go on with it: add one of the user";
                return Err(Refusal::new("messages", message));
            }
            Some(_) => {}
        }
        self.turns.into_iter().map(Turn::finish).collect()
    }
}

impl Turn {
    fn finish(self) -> Result<Message, Refusal> {
        let num_images = self.blocks.iter().map(num_images).sum::<usize>();
        if num_images > MAX_IMAGES {
            let message = format!(
                "a turn has {num_images} pictures, limit {MAX_IMAGES} (consecutive messages of one role are one turn): send fewer"
            );
            return Err(Refusal::new("messages", message));
        }
        let message = Message::builder().role(self.role).set_content(Some(self.blocks)).build();
        Ok(message.expect("role and content are set"))
    }
}

/// Pictures of a block, those of a tool's result included.
fn num_images(block: &ContentBlock) -> usize {
    match block {
        ContentBlock::Image(_) => 1,
        ContentBlock::ToolResult(result) => result.content.iter().filter(|part| part.is_image()).count(),
        _ => 0,
    }
}

/// A block of text.
pub(super) fn text(text: impl Into<String>) -> ContentBlock {
    ContentBlock::Text(text.into())
}
