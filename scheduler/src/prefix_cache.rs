//! Finds the block that already holds the keys and values of a prompt's beginning.
//!
//! A full block is named by a SHA-256 hash over its parent's name and its own tokens; the chain begins at a name made
//! of the salt, so a name stands for everything before the block's end, and owners with different salts never meet.
//! A hit is verified: the stored parent and tokens must be those asked for, so not even equal hashes mix up prompts.
//!
//! # Invariants
//!
//! - A name leads to at most one block, and that block's stored content has this name.
//! - Content is forgotten before its block is lent again; [`crate::block_pool`] sees to it.
//!
//! # Deliberately absent
//!
//! Which block is overwritten next: the order of the pool's free list decides.
//!
//! In a request's path: asked at admission, filled when a step is complete.

use std::collections::HashMap;

use sha2::{Digest, Sha256};
use spillway_types::{BlockId, BlockSize, CacheSalt, TokenId};

/// Name of a block's content and of all that comes before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct BlockHash([u8; 32]);

impl BlockHash {
    /// The name before the first block.
    fn root(salt: Option<&CacheSalt>) -> Self {
        let mut hasher = Sha256::new();
        match salt {
            None => hasher.update([0]),
            Some(salt) => {
                hasher.update([1]);
                hasher.update(salt.as_bytes());
            }
        }
        Self(hasher.finalize().into())
    }

    /// The name of the block that holds `tokens` after this one.
    fn child(self, tokens: &[TokenId]) -> Self {
        let mut hasher = Sha256::new();
        hasher.update(self.0);
        for token in tokens {
            hasher.update(token.0.to_le_bytes());
        }
        Self(hasher.finalize().into())
    }
}

/// A block's name together with its parent's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ChainLink {
    /// Name of everything before the block.
    pub(crate) parent: BlockHash,
    /// Name of the block.
    pub(crate) hash: BlockHash,
}

/// The names of one sequence's blocks, made as they are asked for and kept.
#[derive(Debug, Clone)]
pub(crate) struct BlockChain {
    /// The root, then the name of each block so far.
    names: Vec<BlockHash>,
}

impl BlockChain {
    /// The chain of a sequence that shares blocks only under `salt`.
    pub(crate) fn new(salt: Option<&CacheSalt>) -> Self {
        Self { names: vec![BlockHash::root(salt)] }
    }

    /// The link of block `block_idx` of a sequence of `tokens`, which must fill it.
    pub(crate) fn link(&mut self, block_idx: usize, tokens: &[TokenId], block_size: BlockSize) -> ChainLink {
        while self.names.len() < block_idx + 2 {
            let next = block_tokens(tokens, self.names.len() - 1, block_size);
            self.names.push(self.names[self.names.len() - 1].child(next));
        }
        ChainLink { parent: self.names[block_idx], hash: self.names[block_idx + 1] }
    }
}

/// The tokens of block `block_idx` in a sequence of `tokens`, which must fill it.
pub(crate) fn block_tokens(tokens: &[TokenId], block_idx: usize, block_size: BlockSize) -> &[TokenId] {
    let size = block_size.tokens() as usize;
    &tokens[block_idx * size..(block_idx + 1) * size]
}

/// What every block of a pool holds, as far as it may be found again.
#[derive(Debug)]
pub(crate) struct PrefixCache {
    block_size: BlockSize,
    by_hash: HashMap<BlockHash, BlockId>,
    /// By block: its name, if it can be found.
    links: Vec<Option<ChainLink>>,
    /// By block: its tokens, `block_size` each; meaningful where `links` is set.
    tokens: Vec<TokenId>,
}

impl PrefixCache {
    /// An empty cache over `num_blocks` blocks.
    pub(crate) fn new(num_blocks: u32, block_size: BlockSize) -> Self {
        let num_tokens = num_blocks as usize * block_size.tokens() as usize;
        Self {
            block_size,
            by_hash: HashMap::new(),
            links: vec![None; num_blocks as usize],
            tokens: vec![TokenId(0); num_tokens],
        }
    }

    /// Blocks that can be found.
    pub(crate) fn len(&self) -> u32 {
        self.by_hash.len() as u32
    }

    /// Whether `block` can be found.
    pub(crate) fn holds(&self, block: BlockId) -> bool {
        self.links[block.0 as usize].is_some()
    }

    /// The block that holds `tokens` after `link.parent`.
    pub(crate) fn find(&self, link: &ChainLink, tokens: &[TokenId]) -> Option<BlockId> {
        let block = *self.by_hash.get(&link.hash)?;
        let verified = self.links[block.0 as usize].as_ref() == Some(link) && self.content(block) == tokens;
        verified.then_some(block)
    }

    /// Makes `block`, which now holds `tokens`, findable. The first block of a name keeps it.
    pub(crate) fn enter(&mut self, block: BlockId, link: ChainLink, tokens: &[TokenId]) {
        if self.holds(block) || self.by_hash.contains_key(&link.hash) {
            return;
        }
        self.by_hash.insert(link.hash, block);
        self.links[block.0 as usize] = Some(link);
        let size = self.block_size.tokens() as usize;
        let first = block.0 as usize * size;
        self.tokens[first..first + size].copy_from_slice(tokens);
    }

    /// Makes `block` unfindable, because it is about to be overwritten.
    pub(crate) fn forget(&mut self, block: BlockId) {
        if let Some(link) = self.links[block.0 as usize].take() {
            self.by_hash.remove(&link.hash);
        }
    }

    /// A block that is wrongly named, if there is one.
    pub(crate) fn find_broken(&self) -> Option<BlockId> {
        let broken = |(idx, link): (usize, &Option<ChainLink>)| {
            let block = BlockId(idx as u32);
            let link = link.as_ref()?;
            let named = self.by_hash.get(&link.hash) == Some(&block);
            let same = link.parent.child(self.content(block)) == link.hash;
            (!named || !same).then_some(block)
        };
        let unnamed = || self.by_hash.values().copied().find(|block| !self.holds(*block));
        self.links.iter().enumerate().find_map(broken).or_else(unnamed)
    }

    /// The tokens stored for `block`.
    fn content(&self, block: BlockId) -> &[TokenId] {
        block_tokens(&self.tokens, block.0 as usize, self.block_size)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(ids: &[u32]) -> Vec<TokenId> {
        ids.iter().copied().map(TokenId).collect()
    }

    fn pairs() -> BlockSize {
        BlockSize::try_from(2).expect("2 is a block size")
    }

    fn link_of(salt: Option<&CacheSalt>, ids: &[u32], block_idx: usize) -> ChainLink {
        BlockChain::new(salt).link(block_idx, &tokens(ids), pairs())
    }

    #[test]
    fn finds_a_block_by_all_that_precedes_its_end() {
        let mut cache = PrefixCache::new(4, pairs());
        cache.enter(BlockId(3), link_of(None, &[1, 2, 3, 4], 1), &tokens(&[3, 4]));

        assert_eq!(cache.find(&link_of(None, &[1, 2, 3, 4], 1), &tokens(&[3, 4])), Some(BlockId(3)));
        assert_eq!(cache.find(&link_of(None, &[9, 2, 3, 4], 1), &tokens(&[3, 4])), None);
        assert_eq!(cache.find(&link_of(None, &[3, 4], 0), &tokens(&[3, 4])), None);
    }

    #[test]
    fn salts_keep_equal_prompts_apart() {
        let (mine, yours) = (CacheSalt::new("mine"), CacheSalt::new("yours"));
        let mut cache = PrefixCache::new(4, pairs());
        cache.enter(BlockId(0), link_of(Some(&mine), &[1, 2], 0), &tokens(&[1, 2]));

        assert_eq!(cache.find(&link_of(Some(&mine), &[1, 2], 0), &tokens(&[1, 2])), Some(BlockId(0)));
        assert_eq!(cache.find(&link_of(Some(&yours), &[1, 2], 0), &tokens(&[1, 2])), None);
        assert_eq!(cache.find(&link_of(None, &[1, 2], 0), &tokens(&[1, 2])), None);
        let empty = CacheSalt::new("");
        assert_ne!(link_of(Some(&empty), &[1, 2], 0), link_of(None, &[1, 2], 0));
    }

    #[test]
    fn equal_hashes_of_different_content_do_not_hit() {
        let mut cache = PrefixCache::new(4, pairs());
        let link = link_of(None, &[1, 2], 0);
        cache.enter(BlockId(0), link, &tokens(&[1, 2]));

        assert_eq!(cache.find(&link, &tokens(&[7, 8])), None, "tokens are compared");
        let other_parent = ChainLink { parent: link.hash, hash: link.hash };
        assert_eq!(cache.find(&other_parent, &tokens(&[1, 2])), None, "parents are compared");
    }

    #[test]
    fn the_first_block_of_a_name_keeps_it_until_forgotten() {
        let mut cache = PrefixCache::new(4, pairs());
        let link = link_of(None, &[1, 2], 0);
        cache.enter(BlockId(0), link, &tokens(&[1, 2]));
        cache.enter(BlockId(1), link, &tokens(&[1, 2]));
        assert_eq!((cache.find(&link, &tokens(&[1, 2])), cache.holds(BlockId(1))), (Some(BlockId(0)), false));

        cache.forget(BlockId(0));
        assert_eq!((cache.find(&link, &tokens(&[1, 2])), cache.len()), (None, 0));
        assert_eq!(cache.find_broken(), None);
    }
}
