//! Owns every KV-cache block of one device and lends them out by reference count.
//!
//! A *block* is room for [`BlockSize`] consecutive tokens' keys and values, in all layers at once. This module only
//! keeps the books: it never touches device memory and it never waits. A freed block keeps its content, and can be
//! found by it, until it is lent again; blocks without findable content are lent first, then the longest unused.
//!
//! # Invariants
//!
//! - A block is either free or held by at least one [`BlockTable`], never both.
//! - `free + held == capacity` after every call; [`BlockPool::check`] tells.
//! - Only this module makes a [`BlockId`], so an id always names a block of its own pool.
//! - A table is never empty, is not `Clone`, and is given back by value, so no block is freed twice.
//!
//! # Deliberately absent
//!
//! Swapping to host memory: a preempted sequence is computed again, which is simpler and needs no second pool.
//!
//! In a request's path: called by [`crate::scheduler`]; the ids end in the engine's batch.
//! Source: the paged KV cache of Kwon et al., SOSP 2023.

mod free_list;
#[cfg(test)]
mod tests;

use spillway_types::{BlockId, BlockSize, TokenId};

use crate::InvariantError;
use crate::prefix_cache::{BlockChain, PrefixCache, block_tokens};
use free_list::FreeList;

/// The blocks of one sequence in the order of its positions. Never empty.
#[derive(Debug)]
#[must_use = "a dropped table loses its blocks; give it back with BlockPool::release"]
pub(crate) struct BlockTable {
    blocks: Vec<BlockId>,
}

impl BlockTable {
    /// The blocks, first positions first.
    pub(crate) fn ids(&self) -> &[BlockId] {
        &self.blocks
    }

    /// Number of blocks.
    pub(crate) fn len(&self) -> u32 {
        self.blocks.len() as u32
    }
}

/// No block is free.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct OutOfBlocks;

/// All blocks of one device.
#[derive(Debug)]
pub(crate) struct BlockPool {
    block_size: BlockSize,
    /// By block: tables that name it.
    references: Vec<u32>,
    free: FreeList,
    cache: PrefixCache,
}

impl BlockPool {
    /// A pool of `num_blocks` free blocks without content.
    pub(crate) fn new(num_blocks: u32, block_size: BlockSize) -> Self {
        let mut free = FreeList::new(num_blocks);
        for id in 0..num_blocks {
            free.push_back(BlockId(id));
        }
        let references = vec![0; num_blocks as usize];
        Self { block_size, references, free, cache: PrefixCache::new(num_blocks, block_size) }
    }

    /// Blocks in all.
    pub(crate) fn capacity(&self) -> u32 {
        self.references.len() as u32
    }

    /// Blocks that nobody holds, with findable content or without.
    pub(crate) fn num_free(&self) -> u32 {
        self.free.len()
    }

    /// Blocks that can be found by their content.
    pub(crate) fn num_cached(&self) -> u32 {
        self.cache.len()
    }

    /// Lists in `found` the longest run of blocks that hold the beginning of `tokens`, at most `max_blocks`.
    ///
    /// They are not held yet: [`lend`](Self::lend) them before anything else.
    pub(crate) fn find_prefix(
        &self,
        chain: &mut BlockChain,
        tokens: &[TokenId],
        max_blocks: usize,
        found: &mut Vec<BlockId>,
    ) {
        found.clear();
        for block_idx in 0..max_blocks {
            let link = chain.link(block_idx, tokens, self.block_size);
            match self.cache.find(&link, block_tokens(tokens, block_idx, self.block_size)) {
                Some(block) => found.push(block),
                None => return,
            }
        }
    }

    /// Makes a table of `shared`, which keep their content, and `num_new` blocks to be overwritten.
    ///
    /// # Errors
    ///
    /// [`OutOfBlocks`] if too few are free; nothing has changed then.
    pub(crate) fn lend(&mut self, shared: &[BlockId], num_new: u32) -> Result<BlockTable, OutOfBlocks> {
        assert!(!shared.is_empty() || num_new > 0, "a table holds at least one block");
        let num_revived = shared.iter().filter(|block| self.references[block.0 as usize] == 0).count();
        if self.free.len() < num_new + num_revived as u32 {
            return Err(OutOfBlocks);
        }
        for &block in shared {
            if self.references[block.0 as usize] == 0 {
                self.free.remove(block);
            }
            self.references[block.0 as usize] += 1;
        }
        let mut table = BlockTable { blocks: Vec::with_capacity(shared.len() + num_new as usize + 1) };
        table.blocks.extend_from_slice(shared);
        for _ in 0..num_new {
            table.blocks.push(self.take_free()?);
        }
        Ok(table)
    }

    /// Adds one block to the end of `table`.
    ///
    /// # Errors
    ///
    /// [`OutOfBlocks`] if none is free.
    pub(crate) fn grow(&mut self, table: &mut BlockTable) -> Result<(), OutOfBlocks> {
        table.blocks.push(self.take_free()?);
        Ok(())
    }

    /// Takes a table back. Its last blocks are lent again before its first ones, which more prompts can share.
    pub(crate) fn release(&mut self, table: BlockTable) {
        for block in table.blocks.into_iter().rev() {
            let references = &mut self.references[block.0 as usize];
            *references = references.checked_sub(1).expect("a block in a table has a reference");
            if *references > 0 {
                continue;
            }
            if self.cache.holds(block) {
                self.free.push_back(block);
            } else {
                self.free.push_front(block);
            }
        }
    }

    /// Makes block `block_idx` of `table` findable, which now holds its part of `tokens` for good.
    pub(crate) fn enter(
        &mut self,
        table: &BlockTable,
        block_idx: usize,
        chain: &mut BlockChain,
        tokens: &[TokenId],
    ) {
        let link = chain.link(block_idx, tokens, self.block_size);
        self.cache.enter(table.blocks[block_idx], link, block_tokens(tokens, block_idx, self.block_size));
    }

    /// Checks the books against `tables`, which must be all tables of this pool.
    ///
    /// # Errors
    ///
    /// The first invariant that does not hold.
    pub(crate) fn check<'a>(
        &self,
        tables: impl Iterator<Item = &'a BlockTable>,
    ) -> Result<(), InvariantError> {
        let mut named = vec![0_u32; self.references.len()];
        for block in tables.flat_map(BlockTable::ids) {
            named[block.0 as usize] += 1;
        }
        for (idx, (&tables, &references)) in named.iter().zip(&self.references).enumerate() {
            if tables != references {
                return Err(InvariantError::References { block: BlockId(idx as u32), tables, references });
            }
        }
        let free = self.free.len();
        let held = self.references.iter().filter(|&&count| count > 0).count() as u32;
        if free + held != self.capacity() {
            return Err(InvariantError::BlockCount { free, held, capacity: self.capacity() });
        }
        if let Some(block) = self.free.iter().find(|block| self.references[block.0 as usize] > 0) {
            return Err(InvariantError::FreeList { block });
        }
        if !self.free.is_sound() {
            return Err(InvariantError::FreeList { block: self.free.iter().last().unwrap_or(BlockId(0)) });
        }
        self.cache.find_broken().map_or(Ok(()), |block| Err(InvariantError::PrefixCache { block }))
    }

    /// Takes the free block that is missed least, and forgets what it held.
    fn take_free(&mut self) -> Result<BlockId, OutOfBlocks> {
        let block = self.free.pop_front().ok_or(OutOfBlocks)?;
        self.cache.forget(block);
        self.references[block.0 as usize] = 1;
        Ok(block)
    }
}
