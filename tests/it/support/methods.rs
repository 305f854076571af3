//! Every method of the repositories, from their source: so that none is forgotten where all are to be tried.

use std::collections::BTreeSet;

/// The accessors and where their traits are.
pub const REPOSITORIES: [(&str, &str); 9] = [
    ("users", "users/repository.rs"),
    ("portfolios", "portfolios/portfolio_repository.rs"),
    ("positions", "portfolios/position_repository.rs"),
    ("analyses", "analyses/repository.rs"),
    ("audit", "audit/repository.rs"),
    ("market_cache", "market_cache/repository.rs"),
    ("corporate_actions", "prices/actions/repository.rs"),
    ("prices", "prices/repository.rs"),
    ("options", "options/pg/mod.rs"),
];

/// Every method of these repositories' traits, as `repository.method`.
pub fn methods(repositories: &[&str]) -> BTreeSet<String> {
    let mut methods = BTreeSet::new();
    for (repository, file) in REPOSITORIES {
        if !repositories.contains(&repository) {
            continue;
        }
        let path = super::repository("src").join(file);
        let text = std::fs::read_to_string(path).expect("the repository's source");
        let body = text.split_once("pub trait ").expect("a trait").1;
        let body = body.split_once("\n}").expect("its end").0;
        for line in body.lines() {
            let line = line.trim_start();
            let line = line.strip_prefix("async ").unwrap_or(line);
            if let Some(rest) = line.strip_prefix("fn ") {
                let name = rest.split(['(', '<']).next().expect("a name");
                methods.insert(format!("{repository}.{name}"));
            }
        }
    }
    assert!(methods.len() > 10 * repositories.len().min(7), "{methods:?}");
    methods
}

/// Those whose documentation tells errors of their own.
pub fn methods_with_errors() -> BTreeSet<String> {
    let mut methods = BTreeSet::new();
    for (repository, file) in REPOSITORIES {
        let path = super::repository("src").join(file);
        let text = std::fs::read_to_string(path).expect("the repository's source");
        let body = text.split_once("pub trait ").expect("a trait").1;
        let body = body.split_once("\n}").expect("its end").0;
        let mut tells_errors = false;
        for line in body.lines().map(str::trim_start) {
            let signature = line.strip_prefix("async ").unwrap_or(line);
            if let Some(rest) = signature.strip_prefix("fn ") {
                let name = rest.split(['(', '<']).next().expect("a name");
                if std::mem::take(&mut tells_errors) {
                    methods.insert(format!("{repository}.{name}"));
                }
            }
            tells_errors |= line.starts_with("/// # Errors");
        }
    }
    assert!(methods.len() > 40, "{methods:?}");
    methods
}
