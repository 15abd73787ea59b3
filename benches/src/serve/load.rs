//! The loads of a run, and when each request of an open loop is to be sent.

use std::fmt;
use std::time::Duration;

use anyhow::Context;
use rand::SeedableRng;
use rand::rngs::StdRng;
use rand_distr::{Distribution, Gamma};

use super::args::{Args, Arrivals, RequestRate};

/// Requests for each client of a closed loop, if no number is given.
const REQUESTS_PER_CLIENT: usize = 4;
/// Seconds that an open loop lasts, if no number of requests is given.
const OPEN_LOOP_SECS: f64 = 10.0;
/// Requests that are sent at once, if no number is given.
const REQUESTS_AT_ONCE: usize = 100;

/// How requests are timed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Load {
    Closed { concurrency: usize },
    Open { rate: RequestRate },
}

impl fmt::Display for Load {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed { concurrency } => write!(f, "c={concurrency}"),
            Self::Open { rate: RequestRate::Unlimited } => f.write_str("inf"),
            Self::Open { rate } => write!(f, "{rate}/s"),
        }
    }
}

impl Load {
    /// The loads that the arguments ask for, in order.
    pub(super) fn all(args: &Args) -> Vec<Self> {
        if args.request_rate.is_empty() {
            args.concurrency.iter().map(|&concurrency| Self::Closed { concurrency }).collect()
        } else {
            args.request_rate.iter().map(|&rate| Self::Open { rate }).collect()
        }
    }

    /// Requests of the load.
    pub(super) fn num_requests(self, args: &Args) -> usize {
        args.num_requests.unwrap_or(match self {
            Self::Closed { concurrency } => REQUESTS_PER_CLIENT * concurrency,
            Self::Open { rate: RequestRate::PerSecond(rate) } => (OPEN_LOOP_SECS * rate).ceil() as usize,
            Self::Open { rate: RequestRate::Unlimited } => REQUESTS_AT_ONCE,
        })
    }
}

/// When each request is to be sent.
pub(super) fn arrivals(rate: RequestRate, num_requests: usize, args: &Args) -> anyhow::Result<Vec<Duration>> {
    let RequestRate::PerSecond(rate) = rate else { return Ok(vec![Duration::ZERO; num_requests]) };
    match args.arrivals {
        Arrivals::Constant => {
            Ok((0..num_requests).map(|index| Duration::from_secs_f64(index as f64 / rate)).collect())
        }
        Arrivals::Poisson => {
            // With shape 1 the gaps are exponentially distributed; the mean gap is that of the rate for every shape.
            let gaps = Gamma::new(args.burstiness, 1.0 / (rate * args.burstiness)).with_context(|| {
                format!("--burstiness {} and rate {rate} do not go together", args.burstiness)
            })?;
            let mut random = StdRng::seed_from_u64(args.seed);
            let mut at = 0.0;
            let next = |_| {
                at += gaps.sample(&mut random);
                Duration::try_from_secs_f64(at).with_context(|| format!("rate {rate} is too small"))
            };
            (0..num_requests).map(next).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        args: Args,
    }

    fn args(line: &str) -> Args {
        Cli::try_parse_from(std::iter::once("bench").chain(line.split_whitespace()))
            .expect("clap takes it")
            .args
    }

    fn gaps(line: &str, rate: f64) -> Vec<f64> {
        let times = arrivals(RequestRate::PerSecond(rate), 8000, &args(line)).expect("a fine rate");
        assert!(times.is_sorted());
        times.windows(2).map(|pair| pair[1].saturating_sub(pair[0]).as_secs_f64()).collect()
    }

    #[test]
    fn poisson_arrivals_keep_rate_and_burstiness() {
        for (line, deviation) in [("", 1.0), ("--burstiness 0.25", 2.0), ("--burstiness 4", 0.5)] {
            let gaps = gaps(line, 20.0);
            let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
            let variance = gaps.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>() / gaps.len() as f64;
            assert!((20.0 * mean - 1.0).abs() < 0.08, "{line}: mean gap {mean}");
            let relative = variance.sqrt() / mean;
            assert!((relative / deviation - 1.0).abs() < 0.08, "{line}: deviation {relative}");
        }
        assert_eq!(gaps("", 20.0), gaps("", 20.0));
        assert_ne!(gaps("", 20.0), gaps("--seed 1", 20.0));
    }

    #[test]
    fn constant_arrivals_are_even_and_unlimited_ones_come_at_once() {
        let constant = args("--arrivals constant");
        let times = arrivals(RequestRate::PerSecond(4.0), 3, &constant).expect("a fine rate");
        assert_eq!(times, [0, 250, 500].map(Duration::from_millis));
        assert_eq!(arrivals(RequestRate::Unlimited, 2, &constant).expect("fine"), [Duration::ZERO; 2]);
    }

    #[test]
    fn loads_come_in_order_with_their_usual_numbers_of_requests() {
        let told = |line: &str| {
            let args = args(line);
            let load = |load: Load| (load.to_string(), load.num_requests(&args));
            Load::all(&args).into_iter().map(load).collect::<Vec<_>>()
        };
        let named = |list: [(&str, usize); 3]| list.map(|(name, count)| (name.to_owned(), count)).to_vec();
        assert_eq!(told("--concurrency 1,4,16"), named([("c=1", 4), ("c=4", 16), ("c=16", 64)]));
        assert_eq!(told("--request-rate 0.5,2,inf"), named([("0.5/s", 5), ("2/s", 20), ("inf", 100)]));
        assert_eq!(told("--rate 1,2,3 --num-requests 7"), named([("1/s", 7), ("2/s", 7), ("3/s", 7)]));
        for line in [
            "--request-rate 0",
            "--request-rate -1",
            "--request-rate nan",
            "--concurrency 1 --request-rate 1",
        ] {
            assert!(Cli::try_parse_from(std::iter::once("bench").chain(line.split(' '))).is_err(), "{line}");
        }
    }
}
