//! `spillway ledger`: what was spent, what the month will have cost, what the routing saved. The server need not stand still.

use serde_json::json;
use spillway_store::{LedgerReader, OpenReservations, Projection, Savings, Spend};

use crate::app::serve::unix_clock;
use crate::config::LedgerReport;

/// Prints the report of this month.
pub(super) fn run(options: &LedgerReport) -> anyhow::Result<()> {
    let reader = LedgerReader::open(&options.path)?;
    let projection = reader.projection((unix_clock())())?;
    let month = projection.month.range().into();
    let report = Report {
        projection,
        savings: reader.savings(month)?,
        open: reader.open_reservations()?,
        spend: reader.spend(month, options.by)?,
    };
    if options.json {
        println!("{}", serde_json::to_string_pretty(&report.to_json())?);
    } else {
        print!("{}", report.told());
    }
    Ok(())
}

/// A month's money.
struct Report {
    projection: Projection,
    savings: Savings,
    open: OpenReservations,
    spend: Vec<Spend>,
}

impl Report {
    /// Money is text, so that nobody rounds it.
    fn to_json(&self) -> serde_json::Value {
        let Self { projection, savings, open, spend } = self;
        let spend = spend.iter().map(|spend| {
            json!({
                "name": spend.name,
                "calls": spend.num_calls,
                "prompt_tokens": spend.prompt_tokens,
                "completion_tokens": spend.completion_tokens,
                "charged_usd": spend.charged.to_string(),
                "strong_usd": spend.strong_cost.to_string(),
            })
        });
        json!({
            "month": projection.month.to_string(),
            "spent_usd": projection.spent.to_string(),
            "projected_usd": projection.projected.to_string(),
            "saved_usd": savings.saved().to_string(),
            "strong_usd": savings.strong_cost.to_string(),
            "open_calls": open.num_calls,
            "open_reserved_usd": open.reserved.to_string(),
            "spend": spend.collect::<Vec<_>>(),
        })
    }

    fn told(&self) -> String {
        let Self { projection, savings, open, spend } = self;
        let Projection { month, spent, projected, .. } = projection;
        let mut lines = vec![
            format!("{month}: {spent} dollars spent, {projected} by its end at the rate so far"),
            format!(
                "{} dollars saved: the strong model would have cost {} for what was answered",
                savings.saved(),
                savings.strong_cost
            ),
            format!("{} calls under way, {} dollars reserved", open.num_calls, open.reserved),
            String::new(),
            format!(
                "{:<40} {:>8} {:>14} {:>14} {:>16}",
                "", "calls", "prompt tokens", "answer tokens", "dollars"
            ),
        ];
        lines.extend(spend.iter().map(|spend| {
            let name = spend.name.as_deref().unwrap_or("-");
            format!(
                "{name:<40} {:>8} {:>14} {:>14} {:>16}",
                spend.num_calls,
                spend.prompt_tokens,
                spend.completion_tokens,
                spend.charged.to_string()
            )
        }));
        lines.push(String::new());
        lines.join("\n")
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use spillway_store::{Month, TimeRange, UnixMs};
    use spillway_types::Usd;

    use super::*;

    #[test]
    fn a_month_is_told_in_whole_money() {
        let usd = |text| Usd::parse(text).expect("dollars");
        let now = UnixMs(1_763_856_000_000);
        let projection = Projection {
            month: Month::of(now),
            spent: usd("1.5"),
            projected: usd("2.000000001"),
            measured: TimeRange::ALL,
            measured_spend: usd("1.5"),
        };
        let spend = Spend {
            name: Some("haiku".to_owned()),
            num_calls: 3,
            prompt_tokens: 100,
            completion_tokens: 20,
            charged: usd("1.5"),
            strong_cost: usd("4"),
        };
        let report = Report {
            projection,
            savings: Savings { spent: usd("1.5"), strong_cost: usd("4") },
            open: OpenReservations { num_calls: 2, reserved: usd("0.25") },
            spend: vec![spend],
        };
        expect![[r"
            2025-11: 1.5 dollars spent, 2.000000001 by its end at the rate so far
            2.5 dollars saved: the strong model would have cost 4 for what was answered
            2 calls under way, 0.25 dollars reserved

                                                        calls  prompt tokens  answer tokens          dollars
            haiku                                           3            100             20              1.5
        "]]
        .assert_eq(&report.told());
        assert_eq!(report.to_json()["projected_usd"], "2.000000001");
    }
}
