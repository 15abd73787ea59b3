//! Spends without end into the ledger of the file that it is given, for a test that kills it in the middle.
//!
//! Each line tells of something that the ledger has acknowledged: `reserved NUMBER` when a reservation was committed,
//! `settled NUMBER` when a settlement was. Whoever reads them knows what no crash may take away.

use std::error::Error;
use std::io::Write;

use spillway_store::{Call, Ledger, Outcome, Reservation, Settlement, Store, StoreConfig, UnixMs};
use spillway_types::{ModelId, Usage, Usd};
use tokio::task::JoinSet;

/// Tasks that spend at the same time, so that transactions hold more than one call.
const NUM_SPENDERS: u64 = 8;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let path = std::env::args().nth(1).ok_or("usage: spend FILE")?;
    let store = Store::open(&StoreConfig::new(path))?;
    let mut spenders = JoinSet::new();
    for spender in 0..NUM_SPENDERS {
        spenders.spawn(spend(store.ledger(), spender));
    }
    while let Some(ended) = spenders.join_next().await {
        ended??;
    }
    Ok(())
}

/// Reserves, and settles two calls of three. It ends only by an error.
async fn spend(ledger: Ledger, spender: u64) -> Result<(), Box<dyn Error + Send + Sync>> {
    for turn in 0_u64.. {
        let open = ledger.reserve(reservation(spender, turn)).await?;
        let id = open.id();
        tell("reserved", id.get())?;
        if turn % 3 == 0 {
            // Left open, as a call that is under way when the process is killed.
            std::mem::forget(open);
        } else {
            open.settle(settlement(turn));
            ledger.flush().await?;
            tell("settled", id.get())?;
        }
    }
    Ok(())
}

fn tell(what: &str, id: i64) -> std::io::Result<()> {
    writeln!(std::io::stdout().lock(), "{what} {id}")
}

fn reservation(spender: u64, turn: u64) -> Reservation {
    let call = Call {
        request: format!("r-{spender}-{turn}").into(),
        attempt: 1,
        key: None,
        route: "chat".into(),
        backend: "bedrock".into(),
        model: ModelId::new("amazon.nova-lite-v1:0"),
        privacy: "standard",
        variant: None,
        purpose: "serve",
        started_at: UnixMs(1_795_420_065_000 + turn as i64),
        estimated_prompt_tokens: 100,
        max_tokens: Some(50),
    };
    Reservation { call, amount: Usd::from_nanos(1000) }
}

fn settlement(turn: u64) -> Settlement {
    Settlement {
        outcome: Outcome::Answered,
        usage: Usage { prompt_tokens: 101, completion_tokens: 7, ..Usage::default() },
        cost: Usd::from_nanos(300),
        strong_cost: None,
        provider_request_id: None,
        settled_at: UnixMs(1_795_420_066_000 + turn as i64),
        ttft_ms: None,
        duration_ms: 1000,
    }
}
