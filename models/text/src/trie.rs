//! Finds the texts of added tokens in a string.
//!
//! A byte trie: a look at one position costs at most the length of the longest text, however many texts there
//! are, so a prompt made of nothing but `<` stays cheap.

use std::collections::HashMap;

/// Texts of added tokens, each with its token id.
#[derive(Debug, Clone)]
pub(crate) struct Trie {
    nodes: Vec<Node>,
    /// Whether any text starts with this byte. Most bytes of a prompt are dismissed here.
    starts: [bool; 256],
}

#[derive(Debug, Clone, Default)]
struct Node {
    next: HashMap<u8, u32>,
    token: Option<u32>,
}

impl Trie {
    /// Builds the trie. An empty text is left out, since it would be found everywhere.
    pub(crate) fn new<'a>(texts: impl IntoIterator<Item = (&'a str, u32)>) -> Self {
        let mut trie = Self { nodes: vec![Node::default()], starts: [false; 256] };
        for (text, token) in texts {
            let Some(&first) = text.as_bytes().first() else { continue };
            trie.starts[usize::from(first)] = true;
            trie.insert(text.as_bytes(), token);
        }
        trie
    }

    /// Whether a text can start with `byte`.
    pub(crate) fn may_start_with(&self, byte: u8) -> bool {
        self.starts[usize::from(byte)]
    }

    /// Every text that `bytes` starts with, shortest first, as its length and token.
    pub(crate) fn prefixes_of<'a>(&'a self, bytes: &'a [u8]) -> impl Iterator<Item = (usize, u32)> + 'a {
        let mut node = &self.nodes[0];
        bytes
            .iter()
            .enumerate()
            .map_while(move |(byte_idx, byte)| {
                node = &self.nodes[*node.next.get(byte)? as usize];
                Some((byte_idx + 1, node.token))
            })
            .filter_map(|(len, token)| Some((len, token?)))
    }

    fn insert(&mut self, bytes: &[u8], token: u32) {
        let mut node_idx = 0;
        for &byte in bytes {
            let fresh = self.nodes.len() as u32;
            let next = *self.nodes[node_idx].next.entry(byte).or_insert(fresh);
            if next == fresh {
                self.nodes.push(Node::default());
            }
            node_idx = next as usize;
        }
        self.nodes[node_idx].token = Some(token);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_every_text_at_a_position_shortest_first() {
        let trie = Trie::new([("<s>", 1), ("<s>x", 2), ("é", 3), ("", 4)]);
        assert_eq!(trie.prefixes_of("<s>xy".as_bytes()).collect::<Vec<_>>(), [(3, 1), (4, 2)]);
        assert_eq!(trie.prefixes_of("é".as_bytes()).collect::<Vec<_>>(), [(2, 3)]);
        assert_eq!(trie.prefixes_of("<t>".as_bytes()).count(), 0);
        assert!(trie.may_start_with(b'<') && !trie.may_start_with(b'x'));
    }
}
