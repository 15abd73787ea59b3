//! The pool against a plain model of it: a queue of free blocks, counts, and what each block's memory holds.

use std::collections::{HashMap, VecDeque};

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

const NUM_BLOCKS: u32 = 8;
const BLOCK_SIZE: u32 = 2;

/// What a caller may do. Indices are taken modulo what there is.
#[derive(Debug, Clone)]
enum Call {
    /// Find the prefix of a prompt, and lend the rest.
    Lend {
        prompt: Vec<u8>,
    },
    /// One more block, filled with these tokens.
    Grow {
        table_idx: usize,
        tokens: [u8; 2],
    },
    /// Make the first blocks of a table findable.
    Enter {
        table_idx: usize,
        num_blocks: usize,
    },
    Release {
        table_idx: usize,
    },
}

fn any_call() -> impl Strategy<Value = Call> {
    // Two token values make equal prefixes common.
    prop_oneof![
        3 => vec(0..2_u8, 1..9).prop_map(|prompt| Call::Lend { prompt }),
        2 => (any::<usize>(), [0..2_u8, 0..2_u8]).prop_map(|(table_idx, tokens)| Call::Grow { table_idx, tokens }),
        3 => (any::<usize>(), 0..5_usize).prop_map(|(table_idx, num_blocks)| Call::Enter { table_idx, num_blocks }),
        2 => any::<usize>().prop_map(|table_idx| Call::Release { table_idx }),
    ]
}

/// A table, and the tokens that a device would have computed into its blocks.
struct Holder {
    table: BlockTable,
    tokens: Vec<TokenId>,
    chain: BlockChain,
}

struct World {
    pool: BlockPool,
    block_size: BlockSize,
    holders: Vec<Holder>,
    references: HashMap<BlockId, u32>,
    /// Free blocks, next to be lent first.
    free: VecDeque<BlockId>,
    /// All tokens up to the end of a block, and the block found for them.
    findable: HashMap<Vec<TokenId>, BlockId>,
}

impl World {
    fn new() -> Self {
        let block_size = BlockSize::try_from(BLOCK_SIZE).expect("2 is a block size");
        Self {
            pool: BlockPool::new(NUM_BLOCKS, block_size),
            block_size,
            holders: Vec::new(),
            references: HashMap::new(),
            free: (0..NUM_BLOCKS).map(BlockId).collect(),
            findable: HashMap::new(),
        }
    }

    fn call(&mut self, call: &Call) {
        match call {
            Call::Lend { prompt } => self.lend(prompt),
            Call::Release { table_idx } if !self.holders.is_empty() => {
                let holder = self.holders.swap_remove(table_idx % self.holders.len());
                self.release(holder);
            }
            Call::Grow { table_idx, tokens } if !self.holders.is_empty() => {
                let holder_idx = table_idx % self.holders.len();
                self.grow(holder_idx, *tokens);
            }
            Call::Enter { table_idx, num_blocks } if !self.holders.is_empty() => {
                let holder_idx = table_idx % self.holders.len();
                self.enter(holder_idx, *num_blocks);
            }
            Call::Release { .. } | Call::Grow { .. } | Call::Enter { .. } => {}
        }
        self.pool.check(self.holders.iter().map(|holder| &holder.table)).expect("invariants hold");
        assert_eq!(self.pool.num_free() as usize, self.free.len());
        assert_eq!(self.pool.num_cached() as usize, self.findable.len());
    }

    fn lend(&mut self, prompt: &[u8]) {
        let mut tokens: Vec<TokenId> = prompt.iter().map(|&id| TokenId(u32::from(id))).collect();
        let num_blocks = self.block_size.blocks_for(tokens.len() as u32);
        let mut chain = BlockChain::new(None);
        let mut found = Vec::new();
        self.pool.find_prefix(&mut chain, &tokens, tokens.len() / BLOCK_SIZE as usize, &mut found);
        let ends = (1..=tokens.len() / 2).map(|num_full| num_full * 2);
        let expected: Vec<BlockId> =
            ends.map_while(|end| self.findable.get(&tokens[..end]).copied()).collect();
        assert_eq!(found, expected, "the longest findable prefix is found");

        let num_new = num_blocks - found.len() as u32;
        let still_free = self.free.iter().filter(|block| !found.contains(block)).count();
        let Ok(table) = self.pool.lend(&found, num_new) else {
            assert!(still_free < num_new as usize, "lending fails only for want of blocks");
            return;
        };
        self.free.retain(|block| !found.contains(block));
        let new_blocks = (0..num_new).map(|_| self.take_free()).collect::<Vec<_>>();
        assert_eq!(table.ids(), [found, new_blocks].concat());
        for block in table.ids() {
            *self.references.entry(*block).or_default() += 1;
        }
        tokens.resize((num_blocks * BLOCK_SIZE) as usize, TokenId(9));
        // The padding belongs to other names than those made from the prompt so far.
        self.holders.push(Holder { table, tokens, chain: BlockChain::new(None) });
    }

    fn grow(&mut self, holder_idx: usize, tokens: [u8; 2]) {
        let holder = &mut self.holders[holder_idx];
        let Ok(()) = self.pool.grow(&mut holder.table) else {
            assert!(self.free.is_empty(), "growing fails only for want of blocks");
            return;
        };
        holder.tokens.extend(tokens.map(|id| TokenId(u32::from(id))));
        let block = self.take_free();
        self.references.insert(block, 1);
        assert_eq!(self.holders[holder_idx].table.ids().last(), Some(&block));
    }

    fn enter(&mut self, holder_idx: usize, num_blocks: usize) {
        let Holder { table, tokens, chain } = &mut self.holders[holder_idx];
        for (block_idx, &block) in table.ids().iter().enumerate().take(num_blocks) {
            self.pool.enter(table, block_idx, chain, tokens);
            let is_named = self.findable.values().any(|&other| other == block);
            if !is_named {
                self.findable.entry(tokens[..(block_idx + 1) * 2].to_vec()).or_insert(block);
            }
        }
    }

    fn release(&mut self, holder: Holder) {
        let blocks = holder.table.ids().to_vec();
        self.pool.release(holder.table);
        for block in blocks.into_iter().rev() {
            let references = self.references.get_mut(&block).expect("it was held");
            *references -= 1;
            if *references > 0 {
                continue;
            }
            if self.findable.values().any(|&other| other == block) {
                self.free.push_back(block);
            } else {
                self.free.push_front(block);
            }
        }
    }

    fn take_free(&mut self) -> BlockId {
        let block = self.free.pop_front().expect("the pool had one");
        self.findable.retain(|_, &mut other| other != block);
        block
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Goal: blocks are neither lost nor lent twice, the cache never names a block that holds something else, and the
    /// order of reuse is as promised. Method: random calls against the model, compared after every one.
    #[test]
    fn agrees_with_a_plain_model(calls in vec(any_call(), 1..120)) {
        let mut world = World::new();
        for call in &calls {
            world.call(call);
        }
        while let Some(holder) = world.holders.pop() {
            world.release(holder);
        }
        prop_assert_eq!(world.pool.num_free(), NUM_BLOCKS);
        prop_assert_eq!(world.pool.check(std::iter::empty()), Ok(()));
    }
}

#[test]
fn check_finds_a_lost_table() {
    let mut world = World::new();
    let table = world.pool.lend(&[], 2).expect("blocks are free");
    let error = world.pool.check(std::iter::empty()).expect_err("the table is held by nobody");
    assert_eq!(error, InvariantError::References { block: BlockId(0), tables: 0, references: 1 });
    world.pool.release(table);
}
