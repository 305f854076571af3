//! What the run has shown.

use std::time::Duration;

use crate::callers::Tally;
use crate::provider::Terms;

pub fn table(phases: &[&Tally]) {
    println!(
        "\n{:<16} {:>7} {:>7} {:>6} {:>7} {:>7} {:>7} {:>8} {:>9} {:>9}",
        "phase",
        "calls",
        "memory",
        "datab.",
        "fetched",
        "stale",
        "errors",
        "requests",
        "p50",
        "p99"
    );
    for t in phases {
        println!(
            "{:<16} {:>7} {:>7} {:>6} {:>7} {:>7} {:>7} {:>8} {:>9} {:>9}",
            t.name,
            t.calls,
            t.memory,
            t.database,
            t.fetched,
            t.stale,
            t.errors,
            t.requests,
            shown(t.quantile(0.5)),
            shown(t.quantile(0.99)),
        );
    }
    println!(
        "fetched: calls that made a request or waited for it; requests: what the provider saw"
    );
}

/// What the calls with a cache would have been without it.
pub fn saved(cached: &[&Tally], terms: Terms) {
    let calls: u64 = cached.iter().map(|t| t.calls).sum();
    let requests: u64 = cached.iter().map(|t| t.requests).sum();
    let seconds: f64 = cached.iter().map(|t| t.span.as_secs_f64()).sum();
    let waited: Duration = cached.iter().flat_map(|t| &t.latencies).sum();
    let would_wait = terms.latency.as_secs_f64() * calls as f64;
    let over = calls as f64 - f64::from(terms.limit) * seconds;
    println!(
        "\n{calls} calls in {seconds:.1} s  {:>14} {:>14}\n\
         {:<25} {:>14} {:>14}\n{:<25} {:>14} {:>14.0}\n{:<25} {:>13.1}s {:>13.0}s",
        "cached",
        "without",
        "requests",
        requests,
        calls,
        format!("over {} a second", terms.limit),
        0,
        over.max(0.0),
        "callers waited, together",
        waited.as_secs_f64(),
        would_wait,
    );
}

/// Prints what is claimed, and whether it is so; whether all is.
pub fn claims(claims: &[(String, bool)]) -> bool {
    println!();
    for (claim, holds) in claims {
        println!("{} {claim}", if *holds { "ok    " } else { "FAILED" });
    }
    claims.iter().all(|(_, holds)| *holds)
}

fn shown(time: Duration) -> String {
    match time.as_secs_f64() * 1e6 {
        m if m < 1e3 => format!("{m:.0} us"),
        m => format!("{:.1} ms", m / 1e3),
    }
}
