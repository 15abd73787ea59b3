//! Fixed threads that share the units of one op: they spin a little, then park.
//!
//! An op lasts microseconds, and a step has some hundred of them, so a thread that has just worked
//! looks for the next op for a short while before it sleeps. The caller works, too.
//!
//! Units are handed out by a counter. Who gets which is a matter of luck, which is fine: a unit's
//! result does not depend on who computes it, and a thread that the system holds up holds up one unit
//! only.
//!
//! # Invariants
//!
//! - The job is only read by threads that entered while it was open; `run` returns after all of them
//!   have left, so the job may borrow from the caller's stack.
//! - A thread that wakes late finds the job closed and is not waited for.

use std::cell::UnsafeCell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use crate::error::KernelError;

/// How often a thread without work looks before it parks: about a tenth of a millisecond.
const SPINS_BEFORE_PARKING: u32 = 4_000;
/// How often the caller looks for the last unit's end before it lets others run.
const SPINS_BEFORE_YIELDING: u32 = 10_000;

/// What a unit runs: `run(thread, unit)`.
type Run<'a> = dyn Fn(usize, usize) + Sync + 'a;

/// The threads of one device.
#[derive(Debug)]
pub(super) struct ThreadPool {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
    /// Held while a job runs: jobs of several callers go one after the other.
    turn: Mutex<u64>,
}

/// What callers and workers share.
struct Shared {
    /// The number of the job that may be entered, or zero.
    open: AtomicU64,
    /// The next unit nobody has taken.
    next_unit: AtomicUsize,
    /// Workers that are inside a job.
    num_inside: AtomicUsize,
    /// Workers that sleep or are about to.
    num_parked: AtomicUsize,
    stopping: AtomicBool,
    panicked: AtomicBool,
    job: UnsafeCell<Option<Job>>,
}

/// A job's code and size; the borrow's lifetime is taken away, see [`ThreadPool::run`].
#[derive(Clone, Copy)]
struct Job {
    run: *const Run<'static>,
    num_units: usize,
}

// SAFETY: `job` is written only while no worker is inside and the turn is held, and read only by
// workers inside; everything else is atomic.
unsafe impl Sync for Shared {}
// SAFETY: the pointer in `job` leads to a `Sync` closure, which any thread may call.
unsafe impl Send for Shared {}

impl std::fmt::Debug for Shared {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Shared").field("open", &self.open).finish_non_exhaustive()
    }
}

impl ThreadPool {
    /// A pool in which `num_threads` threads compute, the caller's being the first.
    pub(super) fn new(num_threads: usize) -> Result<Self, KernelError> {
        let shared = Arc::new(Shared {
            open: AtomicU64::new(0),
            next_unit: AtomicUsize::new(0),
            num_inside: AtomicUsize::new(0),
            num_parked: AtomicUsize::new(0),
            stopping: AtomicBool::new(false),
            panicked: AtomicBool::new(false),
            job: UnsafeCell::new(None),
        });
        let mut pool = Self { shared, workers: Vec::new(), turn: Mutex::new(0) };
        for thread_idx in 1..num_threads {
            let shared = Arc::clone(&pool.shared);
            let worker = std::thread::Builder::new()
                .name(format!("compute-{thread_idx}"))
                .spawn(move || shared.work(thread_idx))
                .map_err(|source| KernelError::Thread { thread_idx, num_threads, source })?;
            pool.workers.push(worker);
        }
        Ok(pool)
    }

    /// How many threads compute.
    pub(super) fn num_threads(&self) -> usize {
        self.workers.len() + 1
    }

    /// Calls `run(thread, unit)` once for every unit and returns when all are done.
    ///
    /// `thread` is below [`Self::num_threads`], and no two calls at the same time have the same.
    ///
    /// # Panics
    ///
    /// If a call panics, after all others are done.
    pub(super) fn run(&self, num_units: usize, run: &Run<'_>) {
        let mut turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        if num_units <= 1 || self.workers.is_empty() {
            for unit in 0..num_units {
                run(0, unit);
            }
            return;
        }
        *turn += 1;
        let shared = &*self.shared;
        // SAFETY: only the lifetime changes. Workers use the pointer only between entering and leaving
        // an open job, and this function neither returns nor unwinds before all have left.
        let run_unbound = unsafe { std::mem::transmute::<&Run<'_>, &Run<'static>>(run) };
        // SAFETY: the turn is held and the last job's workers have left, so nobody reads `job`.
        unsafe { *shared.job.get() = Some(Job { run: run_unbound, num_units }) };
        shared.next_unit.store(0, Ordering::Relaxed);
        shared.open.store(*turn, Ordering::SeqCst);
        if shared.num_parked.load(Ordering::SeqCst) > 0 {
            for worker in &self.workers {
                worker.thread().unpark();
            }
        }
        let result = catch_unwind(AssertUnwindSafe(|| shared.take_units(0, num_units, run)));
        if result.is_err() {
            shared.next_unit.store(num_units, Ordering::Relaxed);
        }
        shared.open.store(0, Ordering::SeqCst);
        shared.wait_until_all_left();
        if let Err(panic) = result {
            resume_unwind(panic);
        }
        assert!(!shared.panicked.swap(false, Ordering::Relaxed), "a compute thread panicked");
    }
}

impl Shared {
    /// Runs units until none is left.
    fn take_units(&self, thread: usize, num_units: usize, run: &Run<'_>) {
        loop {
            let unit = self.next_unit.fetch_add(1, Ordering::Relaxed);
            if unit >= num_units {
                return;
            }
            run(thread, unit);
        }
    }

    /// A worker's life.
    fn work(&self, thread: usize) {
        let mut last_job = 0;
        while let Some(job) = self.next_job(last_job) {
            last_job = job;
            self.num_inside.fetch_add(1, Ordering::SeqCst);
            // The job may have been closed meanwhile, and another opened. If it is still this one,
            // then the caller's later look at `num_inside` sees this thread and waits.
            if self.open.load(Ordering::SeqCst) == job {
                self.run_job(thread);
            }
            self.num_inside.fetch_sub(1, Ordering::SeqCst);
        }
    }

    /// Runs units of the open job; the thread is inside.
    fn run_job(&self, thread: usize) {
        // SAFETY: this thread is inside an open job, so `job` is set and nobody writes it.
        let Some(job) = (unsafe { *self.job.get() }) else { return };
        // SAFETY: the caller of `ThreadPool::run` keeps the closure alive until this thread has left.
        let run = unsafe { &*job.run };
        let result = catch_unwind(AssertUnwindSafe(|| self.take_units(thread, job.num_units, run)));
        if result.is_err() {
            self.panicked.store(true, Ordering::Relaxed);
        }
    }

    /// Waits for a job other than `last_job`; `None` when the pool is dropped.
    fn next_job(&self, last_job: u64) -> Option<u64> {
        loop {
            for _ in 0..SPINS_BEFORE_PARKING {
                let job = self.open.load(Ordering::Acquire);
                if job != 0 && job != last_job {
                    return Some(job);
                }
                std::hint::spin_loop();
            }
            if self.stopping.load(Ordering::SeqCst) {
                return None;
            }
            self.num_parked.fetch_add(1, Ordering::SeqCst);
            // Looking again after having said so means that either this thread sees the new job or
            // the caller sees this thread.
            let job = self.open.load(Ordering::SeqCst);
            if (job == 0 || job == last_job) && !self.stopping.load(Ordering::SeqCst) {
                std::thread::park();
            }
            self.num_parked.fetch_sub(1, Ordering::SeqCst);
        }
    }

    fn wait_until_all_left(&self) {
        let mut num_spins = 0;
        while self.num_inside.load(Ordering::SeqCst) != 0 {
            num_spins += 1;
            if num_spins < SPINS_BEFORE_YIELDING {
                std::hint::spin_loop();
            } else {
                std::thread::yield_now();
            }
        }
    }
}

impl Drop for ThreadPool {
    fn drop(&mut self) {
        self.shared.stopping.store(true, Ordering::SeqCst);
        for worker in self.workers.drain(..) {
            worker.thread().unpark();
            // A worker catches its panics, so there is nothing to learn from the result.
            drop(worker.join());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_every_unit_once_whatever_the_number_of_threads() {
        for num_threads in [1, 2, 3, 8] {
            let pool = ThreadPool::new(num_threads).expect("threads start");
            for num_units in [0, 1, 2, 7, 100] {
                for _ in 0..50 {
                    let counts: Vec<AtomicUsize> = (0..num_units).map(|_| AtomicUsize::new(0)).collect();
                    pool.run(num_units, &|thread, unit| {
                        assert!(thread < num_threads);
                        counts[unit].fetch_add(1, Ordering::Relaxed);
                    });
                    assert!(counts.iter().all(|count| count.load(Ordering::Relaxed) == 1));
                }
            }
        }
    }

    #[test]
    fn wakes_threads_that_have_parked() {
        let pool = ThreadPool::new(3).expect("threads start");
        for _ in 0..20 {
            while pool.shared.num_parked.load(Ordering::SeqCst) < 2 {
                std::thread::yield_now();
            }
            let barrier = std::sync::Barrier::new(3);
            // Three units that wait for each other need three threads.
            pool.run(3, &|_, _| {
                barrier.wait();
            });
        }
    }

    #[test]
    fn a_panic_reaches_the_caller_and_the_pool_goes_on() {
        let pool = ThreadPool::new(2).expect("threads start");
        for bad_unit in [0, 9] {
            let run = |_: usize, unit: usize| assert!(unit != bad_unit, "unit is bad");
            assert!(catch_unwind(AssertUnwindSafe(|| pool.run(10, &run))).is_err());
            let count = AtomicUsize::new(0);
            pool.run(10, &|_, _| {
                count.fetch_add(1, Ordering::Relaxed);
            });
            assert_eq!(count.load(Ordering::Relaxed), 10);
        }
    }
}
