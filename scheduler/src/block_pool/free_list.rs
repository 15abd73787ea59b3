//! The free blocks of a pool, in the order in which they will be lent again.
//!
//! A doubly linked list whose links lie in one array indexed by block, so that taking a block out of the middle costs
//! as little as taking the first, and nothing is allocated after the start.
//!
//! In a request's path: only [`crate::block_pool`] touches it.

use spillway_types::BlockId;

/// Neighbours of a block on the list.
#[derive(Debug, Clone, Copy, Default)]
struct Links {
    before: Option<BlockId>,
    after: Option<BlockId>,
}

/// A list of distinct blocks, cheap at both ends and in the middle.
#[derive(Debug)]
pub(super) struct FreeList {
    links: Vec<Links>,
    first: Option<BlockId>,
    last: Option<BlockId>,
    len: u32,
}

impl FreeList {
    /// An empty list for blocks below `num_blocks`.
    pub(super) fn new(num_blocks: u32) -> Self {
        Self { links: vec![Links::default(); num_blocks as usize], first: None, last: None, len: 0 }
    }

    /// Blocks on the list.
    pub(super) fn len(&self) -> u32 {
        self.len
    }

    /// Puts a block that is not on the list at its front: the next to be lent.
    pub(super) fn push_front(&mut self, block: BlockId) {
        let after = self.first.replace(block);
        self.links[block.0 as usize] = Links { before: None, after };
        match after {
            Some(next) => self.links[next.0 as usize].before = Some(block),
            None => self.last = Some(block),
        }
        self.len += 1;
    }

    /// Puts a block that is not on the list at its back: the last to be lent.
    pub(super) fn push_back(&mut self, block: BlockId) {
        let before = self.last.replace(block);
        self.links[block.0 as usize] = Links { before, after: None };
        match before {
            Some(previous) => self.links[previous.0 as usize].after = Some(block),
            None => self.first = Some(block),
        }
        self.len += 1;
    }

    /// Takes the first block.
    pub(super) fn pop_front(&mut self) -> Option<BlockId> {
        let block = self.first?;
        self.remove(block);
        Some(block)
    }

    /// Takes a block that is on the list, wherever it stands.
    pub(super) fn remove(&mut self, block: BlockId) {
        let Links { before, after } = std::mem::take(&mut self.links[block.0 as usize]);
        match before {
            Some(previous) => self.links[previous.0 as usize].after = after,
            None => self.first = after,
        }
        match after {
            Some(next) => self.links[next.0 as usize].before = before,
            None => self.last = before,
        }
        self.len -= 1;
    }

    /// The blocks from front to back, following the links at most `len` times.
    pub(super) fn iter(&self) -> impl Iterator<Item = BlockId> {
        std::iter::successors(self.first, |block| self.links[block.0 as usize].after).take(self.len as usize)
    }

    /// Whether a walk from front to back finds consistent links and ends at the last block.
    pub(super) fn is_sound(&self) -> bool {
        let mut before = None;
        let mut num_seen = 0;
        for block in self.iter() {
            if self.links[block.0 as usize].before != before {
                return false;
            }
            before = Some(block);
            num_seen += 1;
        }
        let ends = before.is_none_or(|last| self.links[last.0 as usize].after.is_none());
        num_seen == self.len && before == self.last && ends
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(list: &FreeList) -> Vec<u32> {
        assert!(list.is_sound());
        list.iter().map(|block| block.0).collect()
    }

    #[test]
    fn keeps_order_through_pushes_pops_and_removals() {
        let mut list = FreeList::new(5);
        for id in [0, 1, 2] {
            list.push_back(BlockId(id));
        }
        list.push_front(BlockId(3));
        assert_eq!(order(&list), [3, 0, 1, 2]);
        list.remove(BlockId(0));
        assert_eq!(order(&list), [3, 1, 2]);
        list.remove(BlockId(2));
        assert_eq!(order(&list), [3, 1]);
        assert_eq!(list.pop_front(), Some(BlockId(3)));
        assert_eq!(list.pop_front(), Some(BlockId(1)));
        assert_eq!((list.pop_front(), order(&list), list.len()), (None, vec![], 0));
    }
}
