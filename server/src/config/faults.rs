//! What is to break on purpose, so that tests can see the built server stand it. Not in builds that users get.

use std::str::FromStr;

use spillway_types::TokenId;

/// One planted fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// A step breaks that computes this token as one of several of a prompt.
    Step {
        /// How.
        kind: StepFault,
        /// The token.
        token: TokenId,
    },
    /// Rendering a conversation panics.
    TemplatePanic,
}

/// How a step breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StepFault {
    /// The model panics.
    Panic,
    /// The model refuses the step.
    Error,
    /// The device breaks.
    Device,
    /// The step never ends.
    Hang,
    /// The logits of the token's row are no numbers.
    Nan,
}

impl FromStr for Fault {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const EXPECTED: &str = "panic@template, or one of panic, error, device, hang, nan with @token=ID";
        if text == "panic@template" {
            return Ok(Self::TemplatePanic);
        }
        let (kind, token) = text.split_once("@token=").ok_or(EXPECTED)?;
        let kind = match kind {
            "panic" => StepFault::Panic,
            "error" => StepFault::Error,
            "device" => StepFault::Device,
            "hang" => StepFault::Hang,
            "nan" => StepFault::Nan,
            _ => return Err(EXPECTED),
        };
        let token = token.parse().map_err(|_| EXPECTED)?;
        Ok(Self::Step { kind, token: TokenId(token) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_are_written_with_their_trigger() {
        let fault = "nan@token=300".parse();
        assert_eq!(fault, Ok(Fault::Step { kind: StepFault::Nan, token: TokenId(300) }));
        assert_eq!("panic@template".parse(), Ok(Fault::TemplatePanic));
        for text in ["", "panic", "panic@step=3", "smoke@token=3", "hang@token=", "hang@token=-1"] {
            assert!(text.parse::<Fault>().is_err(), "{text}");
        }
    }
}
