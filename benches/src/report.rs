//! The result of a whole run: as JSON, and as one HTML page with plots, which needs nothing from elsewhere.

use std::fmt::Write;
use std::path::Path;

use anyhow::Context;
use serde::Serialize;

use crate::figures::Figures;
use crate::machine;
use crate::stats::{Rank, Summary};

mod plot;

use plot::{Plot, Series};

/// A secret on the command line is not repeated in reports.
const SECRET_FLAGS: [&str; 1] = ["--api-key"];

/// Colours, margins, and how the page follows the reader's choice of light or dark.
const STYLE: &str = include_str!("report/style.css");

/// What was measured, where and how.
#[derive(Debug, Clone, Serialize)]
pub struct RunReport {
    /// Which of the benches.
    pub bench: &'static str,
    /// Spillway's version, whose harness this is.
    pub version: &'static str,
    /// The command line.
    pub command: String,
    /// The machine that measured; a server may be on another.
    pub machine: String,
    /// Address of the server; absent if the engine ran in this process.
    pub server: Option<String>,
    /// The server's version, if it tells one.
    pub server_version: Option<String>,
    /// The model.
    pub model: String,
    /// One for each load, in order.
    pub loads: Vec<Figures>,
}

impl RunReport {
    /// A run without loads yet, on this machine.
    pub fn new(bench: &'static str, model: String) -> Self {
        Self {
            bench,
            version: env!("CARGO_PKG_VERSION"),
            command: without_secrets(std::env::args()),
            machine: machine::describe(),
            server: None,
            server_version: None,
            model,
            loads: Vec::new(),
        }
    }

    /// The run as one HTML page.
    pub fn html(&self) -> String {
        let mut page = String::new();
        let title = format!("spillway bench {}: {}", self.bench, escape(&self.model));
        let _ = write!(
            page,
            "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<title>{title}</title>\n\
             <style>\n{STYLE}</style>\n</head>\n<body>\n<h1>{title}</h1>\n"
        );
        page.push_str(&self.facts());
        for plot in self.plots() {
            let _ = write!(page, "<figure>\n{}</figure>\n", plot.svg());
        }
        page.push_str(&self.table());
        page.push_str("</body>\n</html>\n");
        page
    }

    fn facts(&self) -> String {
        let server = self.server.as_deref().unwrap_or("the engine in this process");
        let facts = [
            ("command", self.command.as_str()),
            ("harness", self.version),
            ("measured on", &self.machine),
            ("server", server),
            ("server version", self.server_version.as_deref().unwrap_or("not told")),
        ];
        let mut list = String::from("<dl>\n");
        for (name, value) in facts {
            let _ = writeln!(list, "<dt>{name}</dt><dd>{}</dd>", escape(value));
        }
        list.push_str("</dl>\n");
        list
    }

    fn plots(&self) -> Vec<Plot> {
        let of_times = |title: &str, summary: fn(&Figures) -> Option<&Summary>| {
            let ranks: Vec<Rank> =
                self.loads.iter().find_map(summary).map_or_else(Vec::new, |summary| {
                    summary.percentiles.iter().map(|&(rank, _)| rank).collect()
                });
            let series = ranks.iter().enumerate().map(|(index, rank)| Series {
                name: rank.label(),
                values: self
                    .loads
                    .iter()
                    .map(|load| Some(summary(load)?.percentiles.get(index)?.1))
                    .collect(),
            });
            self.plot(title, "ms", series.collect())
        };
        let of_rates = |name: &str, value: fn(&Figures) -> Option<f64>| Series {
            name: name.to_owned(),
            values: self.loads.iter().map(value).collect(),
        };
        let requests = [
            of_rates("answered", |load| Some(load.requests_per_s)),
            of_rates("good", |load| Some(load.goodput.as_ref()?.requests_per_s)),
        ];
        let requests = requests.into_iter().filter(|series| series.values.iter().any(Option::is_some));
        let tokens = vec![
            of_rates("generated", |load| Some(load.output_tokens_per_s)),
            of_rates("prompts and generated", |load| Some(load.total_tokens_per_s)),
        ];
        vec![
            of_times("Time to first token", |load| load.ttft_ms.as_ref()),
            of_times("Time between pieces", |load| load.itl_ms.as_ref()),
            of_times("Time to the end of the answer", |load| load.e2e_ms.as_ref()),
            self.plot("Throughput", "tokens a second", tokens),
            self.plot("Requests", "requests a second", requests.collect()),
        ]
    }

    fn plot(&self, title: &str, unit: &str, series: Vec<Series>) -> Plot {
        Plot {
            title: title.to_owned(),
            unit: unit.to_owned(),
            places: self.loads.iter().map(|load| load.load.clone()).collect(),
            series,
        }
    }

    fn table(&self) -> String {
        let mut table = String::from("<table>\n<tr>");
        let heads = [
            "load",
            "answered",
            "failed",
            "requests/s",
            "good/s",
            "generated tok/s",
            "all tok/s",
            "first token, ms",
            "between pieces, ms",
            "per token, ms",
            "end to end, ms",
            "sent late by at most, ms",
        ];
        for head in heads {
            let _ = write!(table, "<th>{head}</th>");
        }
        table.push_str("</tr>\n");
        for load in &self.loads {
            let good = load.goodput.as_ref();
            let cells = [
                escape(&load.load),
                load.num_completed.to_string(),
                escape(&failures(load)),
                format!("{:.2}", load.requests_per_s),
                good.map_or_else(|| "-".to_owned(), |good| format!("{:.2}", good.requests_per_s)),
                format!("{:.1}", load.output_tokens_per_s),
                format!("{:.1}", load.total_tokens_per_s),
                Summary::cell(load.ttft_ms.as_ref()),
                Summary::cell(load.itl_ms.as_ref()),
                Summary::cell(load.tpot_ms.as_ref()),
                Summary::cell(load.e2e_ms.as_ref()),
                format!("{:.1}", load.max_late_ms),
            ];
            let _ = writeln!(table, "<tr><td>{}</td></tr>", cells.join("</td><td>"));
        }
        table.push_str("</table>\n");
        table
    }
}

fn failures(load: &Figures) -> String {
    let kinds: Vec<String> =
        load.failures.iter().map(|(kind, failure)| format!("{} {kind}", failure.count)).collect();
    if kinds.is_empty() { "0".to_owned() } else { kinds.join(", ") }
}

/// Writes what was asked for.
pub(crate) fn write(report: &RunReport, json: Option<&Path>, html: Option<&Path>) -> anyhow::Result<()> {
    let write = |path: &Path, text: String| {
        std::fs::write(path, text).with_context(|| format!("{} could not be written", path.display()))
    };
    if let Some(path) = json {
        write(path, serde_json::to_string_pretty(report)? + "\n")?;
    }
    if let Some(path) = html {
        write(path, report.html())?;
    }
    Ok(())
}

fn without_secrets(arguments: impl Iterator<Item = String>) -> String {
    let mut words = Vec::new();
    let mut is_secret = false;
    for argument in arguments {
        let flag = argument.split('=').next().unwrap_or_default();
        let names_secret = SECRET_FLAGS.contains(&flag);
        words.push(match (is_secret, names_secret && argument.contains('=')) {
            (true, _) => "...".to_owned(),
            (false, true) => format!("{flag}=..."),
            (false, false) => argument.clone(),
        });
        is_secret = names_secret && !argument.contains('=');
    }
    words.join(" ")
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests;
