//! The matrix: {batch 1, 4, 16} x {whole prefill, chunks of 7 and 48} x {room for all, so few blocks that sequences are
//! preempted} x {prefix cache cold, warm} x {block size 8, 16, 32} x {one step in flight, two}; threads take turns.
//!
//! A lone sequence is never preempted. So where a batch of one has few blocks, an older companion takes them from it.

use spillway_models::DtypePolicy;
use spillway_tests::{Ask, Choice, Knobs, TestEngine, demo_model, tiny_model};
use spillway_types::BlockSize;

use crate::workload::{Models, Workload};

/// One combination.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Cell {
    batch: usize,
    chunk: Option<u32>,
    room: Room,
    cache: Cache,
    block_size: u32,
    depth: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Room {
    Plenty,
    Few,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cache {
    Cold,
    Warm,
}

fn all_cells() -> Vec<Cell> {
    let mut cells = Vec::new();
    for batch in [1, 4, 16] {
        for chunk in [None, Some(7), Some(48)] {
            for room in [Room::Plenty, Room::Few] {
                for cache in [Cache::Cold, Cache::Warm] {
                    for block_size in [8, 16, 32] {
                        for depth in [1, 2] {
                            cells.push(Cell { batch, chunk, room, cache, block_size, depth });
                        }
                    }
                }
            }
        }
    }
    cells
}

/// Twelve cells in which every value of every dimension appears, and each with several of the others.
fn some_cells() -> Vec<Cell> {
    use {Cache::*, Room::*};
    let cell =
        |batch, chunk, room, cache, block_size, depth| Cell { batch, chunk, room, cache, block_size, depth };
    vec![
        cell(1, None, Plenty, Warm, 16, 1),
        cell(1, Some(7), Plenty, Cold, 32, 2),
        cell(1, Some(48), Few, Cold, 8, 1),
        cell(1, None, Few, Warm, 32, 2),
        cell(4, None, Few, Cold, 16, 2),
        cell(4, Some(7), Few, Warm, 8, 1),
        cell(4, Some(48), Plenty, Warm, 32, 1),
        cell(4, Some(7), Few, Cold, 32, 2),
        cell(4, None, Plenty, Cold, 8, 2),
        cell(4, Some(48), Few, Warm, 16, 2),
        cell(16, Some(48), Plenty, Cold, 16, 2),
        cell(16, Some(7), Few, Warm, 16, 1),
    ]
}

struct Matrix {
    models: Models,
    workload: Workload,
    /// What each prompt gives alone.
    alone: Vec<Choice>,
}

impl Matrix {
    fn new(models: Models, workload: Workload) -> Self {
        let alone = workload.alone(models.on_threads(1));
        Self { models, workload, alone }
    }

    fn check(&self, cells: &[Cell]) {
        for (cell_idx, cell) in cells.iter().enumerate() {
            // Sixteen sequences share out the work, so two threads and one take different parts of it.
            self.check_cell(cell, 1 + cell_idx % 2);
        }
    }

    fn check_cell(&self, cell: &Cell, num_threads: usize) {
        let engine = TestEngine::start(self.models.on_threads(num_threads), &self.knobs(cell));
        let mut prompts: Vec<usize> = (0..cell.batch).collect();
        if cell.batch == 1 && cell.room == Room::Few {
            prompts.insert(0, 1);
        }
        if cell.cache == Cache::Warm {
            self.warm(&engine, &prompts);
        }
        let before = engine.handle().load();
        let asks: Vec<Ask> = self.workload.asks(16);
        let asks: Vec<Ask> = prompts.iter().map(|&prompt| asks[prompt].clone()).collect();
        let answers = engine.run(&asks);

        let context = format!("{cell:?} on {num_threads} threads");
        for (&prompt, answer) in prompts.iter().zip(&answers) {
            let (alone, here) = (&self.alone[prompt], answer.only());
            assert_eq!(here.tokens, alone.tokens, "prompt {prompt}, {context}");
            assert_eq!(here.logprob_bits(), alone.logprob_bits(), "prompt {prompt}, {context}");
        }
        let steps = engine.take_steps();
        let load = engine.stop();
        let num_preemptions = load.num_preemptions - before.num_preemptions;
        assert_eq!(num_preemptions > 0, cell.room == Room::Few, "{num_preemptions} preemptions, {context}");
        let num_hits = load.prefix_hits - before.prefix_hits;
        assert_eq!(num_hits > 0, cell.cache == Cache::Warm, "{num_hits} tokens cached, {context}");
        assert_eq!(steps.num_chunks() > 0, cell.chunk.is_some(), "{} chunks, {context}", steps.num_chunks());
        assert!(steps.max_row_tokens() <= cell.chunk.unwrap_or(u32::MAX), "{context}");
        assert_eq!(
            steps.num_overlapped() > 0,
            cell.depth == 2,
            "{} overlapped, {context}",
            steps.num_overlapped()
        );
        let num_together = if cell.room == Room::Plenty { cell.batch } else { 2 };
        assert!(steps.max_rows() >= num_together, "{} rows at most, {context}", steps.max_rows());
        if cell.batch > 1 {
            assert!(steps.num_mixed() > 0, "no step of prefill and decode, {context}");
        }
    }

    fn knobs(&self, cell: &Cell) -> Knobs {
        let block_size = BlockSize::try_from(cell.block_size).expect("a block size");
        let blocks = |prompt: &Vec<u32>, num_more: u32| block_size.blocks_for(prompt.len() as u32 + num_more);
        let prompts = &self.workload.prompts;
        let num_blocks = match cell.room {
            Room::Plenty => prompts.iter().map(|prompt| blocks(prompt, self.workload.max_tokens)).sum(),
            Room::Few => prompts[..2].iter().map(|prompt| blocks(prompt, 0)).sum(),
        };
        Knobs {
            block_size: cell.block_size,
            num_blocks,
            chunk: cell.chunk,
            depth: cell.depth,
            ..Knobs::default()
        }
    }

    /// Has the beginnings of the prompts computed one by one, those first in line last: their blocks are then the
    /// last that a small cache gives up.
    fn warm(&self, engine: &TestEngine, prompts: &[usize]) {
        for &prompt in prompts.iter().rev() {
            let prompt = &self.workload.prompts[prompt];
            let beginning = &prompt[..prompt.len().min(self.workload.num_warm_tokens)];
            engine.run(&[Ask::greedy(beginning, 1)]);
        }
        engine.take_steps();
    }
}

fn check_tiny(batch: usize) {
    let models = Models::load(&tiny_model("llama3"), DtypePolicy::F32);
    let matrix = Matrix::new(models, Workload::random(512));
    let cells: Vec<Cell> = all_cells().into_iter().filter(|cell| cell.batch == batch).collect();
    assert_eq!(cells.len(), 72);
    matrix.check(&cells);
}

#[test]
fn the_matrix_holds_for_one_sequence_of_a_tiny_model() {
    check_tiny(1);
}

#[test]
fn the_matrix_holds_for_four_sequences_of_a_tiny_model() {
    check_tiny(4);
}

#[test]
fn the_matrix_holds_for_sixteen_sequences_of_a_tiny_model() {
    check_tiny(16);
}

#[test]
fn the_matrix_holds_for_quantised_and_rounded_tiny_models() {
    for path in ["gguf/tied-q4_0.gguf", "gguf/tied-q4_1.gguf", "gguf/tied-q8_0.gguf", "bf16", "sharded"] {
        let models = Models::load(&tiny_model(path), DtypePolicy::Auto);
        Matrix::new(models, Workload::random(512)).check(&some_cells());
    }
}

#[test]
fn a_dozen_cells_hold_for_the_demo_model_in_f32() {
    let models = Models::load(&demo_model(), DtypePolicy::F32);
    Matrix::new(models, Workload::of_demo()).check(&some_cells());
}

#[test]
fn a_dozen_cells_hold_for_the_demo_model_as_it_is_stored() {
    let models = Models::load(&demo_model(), DtypePolicy::Auto);
    Matrix::new(models, Workload::of_demo()).check(&some_cells());
}
