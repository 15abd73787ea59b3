//! Regression trees whose values are added up.
//!
//! [`fit`] grows them by gradient boosting; this file only asks them.

pub(crate) mod fit;

/// Where a walk through a tree goes on, or ends.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Node {
    /// Values up to `threshold` go to node `low`, others to node `high`. Both stand after this node, so every walk ends.
    Split {
        /// Which of a row's values is asked.
        feature: u8,
        /// The largest value that goes low.
        threshold: f32,
        /// Index of the next node for low values.
        low: u8,
        /// Index of the next node for high values.
        high: u8,
    },
    /// The tree's value.
    Leaf(f32),
}

/// One tree; its root is the first node.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Tree {
    nodes: Vec<Node>,
}

impl Tree {
    /// A tree of `nodes`, if they are one: at least one node, at most 256, no way back, and only features below `num_features`.
    pub(crate) fn new(nodes: Vec<Node>, num_features: usize) -> Option<Self> {
        let is_sound = |(idx, node): (usize, &Node)| match *node {
            Node::Split { feature, threshold, low, high } => {
                let is_later = |next: u8| usize::from(next) > idx && usize::from(next) < nodes.len();
                usize::from(feature) < num_features
                    && threshold.is_finite()
                    && is_later(low)
                    && is_later(high)
            }
            Node::Leaf(value) => value.is_finite(),
        };
        let is_tree = !nodes.is_empty() && nodes.len() <= 256 && nodes.iter().enumerate().all(is_sound);
        is_tree.then_some(Self { nodes })
    }

    /// The nodes, root first.
    pub(crate) fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// The value for `row`, which has at least the features the tree was made for.
    fn predict(&self, row: &[f32]) -> f32 {
        let mut at = 0;
        loop {
            match self.nodes[at] {
                Node::Split { feature, threshold, low, high } => {
                    at = usize::from(if row[usize::from(feature)] <= threshold { low } else { high });
                }
                Node::Leaf(value) => return value,
            }
        }
    }
}

/// A sum of trees over a mean.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Forest {
    /// The prediction before any tree.
    pub(crate) mean: f32,
    /// The trees.
    pub(crate) trees: Vec<Tree>,
}

impl Forest {
    /// The value for `row`.
    pub(crate) fn predict(&self, row: &[f32]) -> f32 {
        self.mean + self.trees.iter().map(|tree| tree.predict(row)).sum::<f32>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(low: u8, high: u8) -> Node {
        Node::Split { feature: 1, threshold: 0.5, low, high }
    }

    #[test]
    fn walks_to_the_leaf_of_a_row() {
        let tree = Tree::new(vec![split(1, 2), Node::Leaf(1.0), Node::Leaf(2.0)], 2).expect("a tree");
        let forest = Forest { mean: 10.0, trees: vec![tree.clone(), tree] };
        assert_eq!(forest.predict(&[9.0, 0.5]).to_bits(), 12.0_f32.to_bits());
        assert_eq!(forest.predict(&[9.0, 0.6]).to_bits(), 14.0_f32.to_bits());
    }

    #[test]
    fn what_is_no_tree_is_refused() {
        let leaf = Node::Leaf(1.0);
        assert!(Tree::new(vec![], 2).is_none());
        assert!(Tree::new(vec![split(1, 2), leaf], 2).is_none(), "a node beyond the end");
        assert!(Tree::new(vec![split(0, 1), leaf], 2).is_none(), "a way back");
        assert!(Tree::new(vec![split(1, 2), leaf, leaf], 1).is_none(), "a feature that is not there");
        assert!(Tree::new(vec![Node::Leaf(f32::NAN)], 2).is_none());
        assert!(Tree::new(vec![leaf; 257], 2).is_none());
    }
}
