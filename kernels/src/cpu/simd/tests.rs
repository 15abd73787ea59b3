//! Each instruction set's vector operations against plain arithmetic.

use super::super::isa::{ActiveIsa, Task};
use super::{LANES, Simd, exp};

/// Computes the exponential of each number.
struct ExpTask<'a> {
    x: &'a [f32; LANES],
    out: &'a mut [f32; LANES],
}

impl Task for ExpTask<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        // SAFETY: both arrays hold sixteen values.
        unsafe {
            let result = exp(simd, simd.load(self.x.as_ptr()));
            simd.store(self.out.as_mut_ptr(), result);
        }
    }
}

#[test]
fn exp_is_close_to_the_true_value_and_the_same_everywhere() {
    let instruction_sets = ActiveIsa::all();
    for step in -8700..8800 {
        let x = [step as f32 * 0.01; LANES];
        let expected = f64::from(x[0]).exp();
        for isa in &instruction_sets {
            let mut out = [0.0; LANES];
            isa.run(ExpTask { x: &x, out: &mut out });
            let error = (f64::from(out[0]) - expected).abs() / expected;
            assert!(error < 2.4e-7, "exp({}) is {}, off by {error} on {isa:?}", x[0], out[0]);
        }
    }
}

/// Transposes, reduces and cuts a matrix of distinct numbers.
struct ShuffleTask<'a> {
    rows: &'a [[f32; LANES]; LANES],
    transposed: &'a mut [[f32; LANES]; LANES],
    sum: &'a mut f32,
    largest: &'a mut f32,
    first: &'a mut [f32; LANES],
}

impl Task for ShuffleTask<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        // SAFETY: every array holds sixteen values.
        unsafe {
            let rows = self.rows.map(|row| simd.load(row.as_ptr()));
            for (to, column) in self.transposed.iter_mut().zip(simd.transpose(rows)) {
                simd.store(to.as_mut_ptr(), column);
            }
            *self.sum = simd.sum(rows[3]);
            *self.largest = simd.largest(rows[3]);
            simd.store(self.first.as_mut_ptr(), simd.first(5, rows[1], rows[2]));
        }
    }
}

#[test]
fn lanes_are_moved_to_their_places_on_every_instruction_set() {
    let rows = std::array::from_fn(|row| std::array::from_fn(|lane| (row * LANES + lane) as f32));
    for isa in ActiveIsa::all() {
        let mut transposed = [[0.0; LANES]; LANES];
        let (mut sum, mut largest, mut first) = (0.0, 0.0, [0.0; LANES]);
        isa.run(ShuffleTask {
            rows: &rows,
            transposed: &mut transposed,
            sum: &mut sum,
            largest: &mut largest,
            first: &mut first,
        });
        for (column, values) in transposed.iter().enumerate() {
            for (row, &value) in values.iter().enumerate() {
                assert_eq!(value.to_bits(), rows[row][column].to_bits(), "{isa:?}");
            }
        }
        assert_eq!((sum, largest), (16.0 * 55.5, 63.0), "{isa:?}");
        assert_eq!((&first[..5], &first[5..]), (&rows[1][..5], &rows[2][5..]), "{isa:?}");
    }
}
