//! What a matrix is for, which decides what becomes of it where weights are quantised at load.

use spillway_kernels::Quantisation;

use crate::arch::WeightNames;
use crate::spec::DecoderSpec;

/// What a matrix is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MatrixRole {
    /// A projection of a layer.
    Layer,
    /// The last product, and the table of embeddings where that is the same matrix.
    Head,
    /// A table of embeddings of its own: only looked up, so that its size costs no time.
    Table,
    /// What chooses among experts: small, and a wrong choice is not a small error.
    Router,
}

impl MatrixRole {
    /// The role of the matrix of this name.
    pub(crate) fn of_name(names: &WeightNames, spec: &DecoderSpec, name: &str) -> Self {
        match name {
            _ if name == names.head => Self::Head,
            _ if name == names.embedding && spec.tied_head => Self::Head,
            _ if name == names.embedding => Self::Table,
            _ if name.ends_with(names.layer.experts.router) => Self::Router,
            _ => Self::Layer,
        }
    }

    /// What a float matrix of this role is rounded to, given what all weights are to be.
    ///
    /// A token is chosen by the last product, so that four bits would show there; eight do not.
    pub(crate) fn quantisation(self, of_all: Option<Quantisation>) -> Option<Quantisation> {
        match (self, of_all?) {
            (Self::Table | Self::Router, _) => None,
            (Self::Head, Quantisation::Int4) => Some(Quantisation::Int8),
            (Self::Head | Self::Layer, quantisation) => Some(quantisation),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arch;
    use crate::spec::tests::small_spec;

    #[test]
    fn each_matrix_is_rounded_by_what_it_is_for() {
        let names = &arch::ALL[0].hf.names;
        let spec = small_spec();
        let of = |spec: &DecoderSpec, name: &str| {
            MatrixRole::of_name(names, spec, name).quantisation(Some(Quantisation::Int4))
        };
        assert_eq!(of(&spec, "model.layers.1.mlp.down_proj.weight"), Some(Quantisation::Int4));
        assert_eq!(of(&spec, "lm_head.weight"), Some(Quantisation::Int8));
        assert_eq!(of(&spec, "model.embed_tokens.weight"), None);
        let tied = DecoderSpec { tied_head: true, ..spec };
        assert_eq!(of(&tied, "model.embed_tokens.weight"), Some(Quantisation::Int8));
        assert_eq!(MatrixRole::Router.quantisation(Some(Quantisation::Int8)), None);
        assert_eq!(MatrixRole::Head.quantisation(Some(Quantisation::Fp8)), Some(Quantisation::Fp8));
        assert_eq!(MatrixRole::Layer.quantisation(None), None);
    }
}
