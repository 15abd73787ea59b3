//! How urgent a request is.

/// Class of a request in the waiting queue; a higher class goes first, and waiting raises the class.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub enum Priority {
    /// Batch work that may wait.
    Low,
    /// The class of a request that names none.
    #[default]
    Normal,
    /// A person is waiting.
    High,
}

impl Priority {
    /// Every class, lowest first.
    pub const ALL: [Self; 3] = [Self::Low, Self::Normal, Self::High];

    /// Position in [`Priority::ALL`].
    pub fn index(self) -> usize {
        self as usize
    }
}
