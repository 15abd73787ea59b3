//! Whole engines over a fake executor, a clock of their own, and clients that do as they please.
//!
//! The executor keeps a paged store as a model keeps keys and values, and makes each token of everything that it reads
//! there through the block table. So a wrong block table, a lost or doubled token, a block lent twice or a stale prefix
//! gives wrong tokens. The engine stands still at its gate while the clients act, so a seed says what happens.
//!
//! - `fake`: the executor.   - `oracle`: what a request gives when nothing disturbs it.
//! - `world`: random requests, hang-ups and broken steps.   - `ending`: draining, panics.
//! - `watching`: health, measured rates, and the bound of the queue that is made of them.

mod ending;
mod fake;
mod oracle;
mod watching;
mod world;
