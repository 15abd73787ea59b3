//! `spillway bench gateway`: what a gateway adds to a request, whichever gateway it is.
//!
//! A mock server that answers at once is asked directly, then through the gateway, in turns, by the same constant stream
//! of requests. What the gateway adds is the difference of the two distributions at each percentile.
//!
//! Open loop: each request has a planned moment, and its time counts from there, whether the generator, the gateway or
//! the mock was late. So nothing that waits is left out (no coordinated omission).
//!
//! Generator and mock are threads with blocking sockets and nothing else, since they share the machine with the gateway.

mod args;
mod exchange;
mod figures;
mod generator;
mod mock;
mod process;

pub use args::{Args, Mode};

use std::time::Duration;

use anyhow::{Context, bail};

use exchange::Target;
use figures::{GatewayFigures, Side};
use generator::{Plan, run_plan};
use mock::Mock;
use process::Usage;

/// Time between two tries to reach a gateway that is starting.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// Measures every rate and mode that was asked for, and prints a row of each.
///
/// # Errors
///
/// If the mock cannot be started, the gateway does not answer well in time, or a process that is to be watched is not
/// there. Single requests that fail are counted.
pub fn run(args: &Args) -> anyhow::Result<()> {
    let mock = Mock::start(args.mock, args.stream_tokens).with_context(|| {
        format!("the mock cannot listen on {}: choose another address with --mock", args.mock)
    })?;
    let direct = Target::new(&format!("http://{}", mock.address()), None)?;
    let gateway = Target::new(&args.url, args.api_key.as_deref())?;
    await_gateway(&gateway, args)?;
    let mut all = Vec::new();
    if !args.json {
        figures::print_heading(args);
    }
    for &mode in args.modes() {
        for &rate in &args.rate {
            let figures = measure(&direct, &gateway, &Plan::new(args, mode, rate), args)?;
            if args.json {
                println!("{}", serde_json::to_string(&figures)?);
            } else {
                figures.print();
            }
            all.push(figures);
        }
    }
    if let Some(path) = &args.output {
        let text = serde_json::to_string_pretty(&all)?;
        std::fs::write(path, text).with_context(|| format!("{} cannot be written", path.display()))?;
    }
    if all.iter().any(|figures| figures.gateway.num_completed == 0) {
        bail!("all requests through the gateway failed: see the failures above");
    }
    Ok(())
}

/// One rate and mode: both sides in turns, so that what else happens on the machine meets both.
fn measure(direct: &Target, gateway: &Target, plan: &Plan, args: &Args) -> anyhow::Result<GatewayFigures> {
    let mut sides = [Side::default(), Side::default()];
    let mut used = Usage::default();
    run_plan(direct, &plan.warm_up());
    run_plan(gateway, &plan.warm_up());
    for _ in 0..args.rounds {
        sides[0].add(run_plan(direct, plan));
        let before = Usage::of(&args.pid)?;
        sides[1].add(run_plan(gateway, plan));
        used = used.plus(Usage::of(&args.pid)?.since(before));
    }
    let [direct, gateway] = sides;
    Ok(GatewayFigures::new(plan, direct, gateway, used, args))
}

/// Waits until the gateway passes a request on: it may be starting, or have found the mock missing before.
fn await_gateway(gateway: &Target, args: &Args) -> anyhow::Result<()> {
    let plan = Plan::single(args);
    let mut tries = Duration::from_secs(args.patience_secs).as_millis() / LOOK_AGAIN.as_millis();
    loop {
        let outcome = run_plan(gateway, &plan);
        let Some(failure) = outcome.failures.into_iter().next() else { return Ok(()) };
        if tries == 0 {
            bail!("{} does not answer well after {} s: {failure}", args.url, args.patience_secs);
        }
        tries -= 1;
        std::thread::sleep(LOOK_AGAIN);
    }
}
