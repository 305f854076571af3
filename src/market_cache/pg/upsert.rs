//! The statement that stores documents: every other one in this crate that does is made of it.

/// An INSERT of what `source` gives: VALUES or a query, of id, ticker, type, parameters, document, source, quality,
/// time of storing, of expiry, of the end of the stale window, and tags. `now()` belongs into the source only: on a conflict
/// all times come from `excluded`.
pub(crate) fn insert(source: &str) -> String {
    format!(
        "INSERT INTO market_data_cache AS stored (id, ticker, data_type, parameters, data, data_source,
            data_quality_score, cached_at, expires_at, stale_until, tags)
        {source}"
    )
}

/// As [`insert`], and replaces what is stored under the key, `only_where` that holds (a WHERE, or nothing). Of the row that is
/// stored the columns are those of `stored`.
///
/// The parameters are replaced, too: equal ones may be spelled differently, and of two that collide in their key the
/// older entry gives way.
pub(crate) fn upsert(source: &str, only_where: &str) -> String {
    let insert = insert(source);
    format!(
        "{insert}
        ON CONFLICT (ticker, data_type, parameters_key) DO UPDATE SET
            parameters = excluded.parameters, data = excluded.data, data_source = excluded.data_source,
            data_quality_score = excluded.data_quality_score, cached_at = excluded.cached_at,
            expires_at = excluded.expires_at, stale_until = excluded.stale_until, tags = excluded.tags
        {only_where}"
    )
}
