//! Philox4x32-10: random numbers without state.
//!
//! A number is a function of a key and a counter, so a sequence's numbers do not depend on what else was drawn.
//!
//! Source: Salmon, Moraes, Dror and Shaw, "Parallel Random Numbers: As Easy as 1, 2, 3", SC 2011.

use spillway_types::Seed;

const ROUNDS: usize = 10;
const MULTIPLIERS: [u32; 2] = [0xD251_1F53, 0xCD9E_8D57];
const WEYL: [u32; 2] = [0x9E37_79B9, 0xBB67_AE85];

/// What the counters of a request's keys and of its draws have in their last word, so that no draw repeats a key.
const KEY_DOMAIN: u32 = 1;
const DRAW_DOMAIN: u32 = 0;

/// The block of four random words that belongs to `counter` under `key`.
pub(crate) fn philox4x32_10(counter: [u32; 4], mut key: [u32; 2]) -> [u32; 4] {
    let mut words = counter;
    for _ in 0..ROUNDS {
        let (high_0, low_0) = multiply(MULTIPLIERS[0], words[0]);
        let (high_1, low_1) = multiply(MULTIPLIERS[1], words[2]);
        words = [high_1 ^ words[1] ^ key[0], low_1, high_0 ^ words[3] ^ key[1], low_0];
        key = [key[0].wrapping_add(WEYL[0]), key[1].wrapping_add(WEYL[1])];
    }
    words
}

/// The number in [0, 1) that chooses the token at `position` of choice `choice` of a request.
///
/// 53 bits wide. The key is drawn from seed and choice, the counter is the position.
pub(super) fn uniform(seed: Seed, choice: u32, position: u32) -> f64 {
    let seed_words = [seed.0 as u32, (seed.0 >> 32) as u32];
    let key = philox4x32_10([choice, 0, 0, KEY_DOMAIN], seed_words);
    let words = philox4x32_10([position, 0, 0, DRAW_DOMAIN], [key[0], key[1]]);
    let bits = (u64::from(words[0]) << 21) ^ (u64::from(words[1]) >> 11);
    bits as f64 / (1_u64 << 53) as f64
}

/// High and low half of a product.
fn multiply(a: u32, b: u32) -> (u32, u32) {
    let product = u64::from(a) * u64::from(b);
    ((product >> 32) as u32, product as u32)
}
