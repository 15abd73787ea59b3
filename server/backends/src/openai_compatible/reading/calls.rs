//! Calls of tools, put together from fragments.

use spillway_types::ToolCallDelta;

use crate::openai_compatible::fault::{Fault, malformed};
use crate::openai_compatible::wire;

/// Most calls in one choice.
const MAX_CALLS: usize = 128;

/// The calls of one choice so far: the server's index of each, in the order in which they were opened.
#[derive(Debug, Clone, Default)]
pub(super) struct OpenCalls(Vec<u32>);

impl OpenCalls {
    /// Reads what is new in any calls.
    pub(super) fn read_all(
        &mut self,
        choice: u32,
        fragments: Vec<wire::ToolCall>,
    ) -> Result<Vec<ToolCallDelta>, Fault> {
        let mut deltas = Vec::with_capacity(fragments.len());
        for fragment in fragments {
            deltas.extend(self.read(choice, fragment)?);
        }
        Ok(deltas)
    }

    fn read(&mut self, choice: u32, fragment: wire::ToolCall) -> Result<Option<ToolCallDelta>, Fault> {
        let function = fragment.function.unwrap_or_default();
        let name = function.name.filter(|name| !name.is_empty());
        let arguments = function.arguments.unwrap_or_default();
        if let Some(call) = self.position(fragment.index, name.is_some()) {
            let delta = ToolCallDelta { choice, call, opening: None, arguments };
            return Ok(Some(delta).filter(|delta| !delta.arguments.is_empty()));
        }
        let Some(name) = name else {
            return Err(malformed("it went on with a call that it had not begun"));
        };
        if self.0.len() == MAX_CALLS {
            return Err(malformed(format!("it called more than {MAX_CALLS} tools at once")));
        }
        let call = self.0.len() as u32;
        // Servers without indices open one call after the other.
        self.0.push(fragment.index.unwrap_or(call));
        let id = fragment.id.filter(|id| !id.is_empty()).unwrap_or_else(|| format!("call_{choice}_{call}"));
        Ok(Some(ToolCallDelta { choice, call, opening: Some((id, name)), arguments }))
    }

    /// The call that a fragment goes on with, if it does not open one. Without an index, a name opens a call, and
    /// everything else belongs to the last one.
    fn position(&self, index: Option<u32>, has_name: bool) -> Option<u32> {
        let position = match index {
            Some(index) => self.0.iter().position(|known| *known == index),
            None if has_name => None,
            None => self.0.len().checked_sub(1),
        };
        position.map(|position| position as u32)
    }
}
