//! How fast a device reads and multiplies, and how long it needs at least.

/// What one device can do, as measured on it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DeviceRates {
    /// Bytes read from memory in a second.
    pub bytes_per_s: f64,
    /// Multiplications and additions of a large bf16 product in a second.
    pub operations_per_s: f64,
}

impl DeviceRates {
    /// The least seconds for so many bytes and operations: reading and computing at once, whichever takes longer.
    pub fn floor_s(self, bytes: f64, operations: f64) -> f64 {
        (bytes / self.bytes_per_s).max(operations / self.operations_per_s)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slower_of_reading_and_computing_is_the_floor() {
        let rates = DeviceRates { bytes_per_s: 100.0, operations_per_s: 1000.0 };
        for (bytes, operations, expected) in [(200.0, 0.0, 2.0), (200.0, 1999.0, 2.0), (200.0, 3000.0, 3.0)] {
            assert!((rates.floor_s(bytes, operations) - expected).abs() < 1e-12, "{bytes} {operations}");
        }
    }
}
