//! The tables: what each is called, and what else there is to do where its rows change.
//!
//! This is the one list of tables. Statements name an entry of it, so that no write can forget who has to hear of it;
//! rights, the doctor's trials and its search for unreadable rows cover it, which tests compare, as they compare the list
//! with the database that the migrations make.

/// A table.
#[derive(Debug)]
pub(crate) struct Table {
    pub name: &'static str,
    pub rows: Rows,
    /// Whether programs read its rows as models with an id.
    pub models: bool,
    /// Which changes triggers write an event for, so that readers of events are notified.
    pub events: Events,
    /// Whether processes keep copies of its rows, so that they are notified and their own copies outdated.
    pub cached: bool,
    /// Whether triggers write changes of its rows to the audit log.
    pub audited: bool,
    /// Tables whose rows are deleted with one of this.
    pub cascades: &'static [&'static Table],
}

/// What a table's rows are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rows {
    /// Users own them, all or some.
    Owned,
    /// Everybody's.
    Shared,
    /// Programs keep account of their work in them.
    Kept,
}

/// Which changes of a table's rows are events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Events {
    Never,
    Always,
    /// Not that a row is stored or replaced.
    AtItsEnd,
}

const fn table(name: &'static str, rows: Rows) -> Table {
    let events = Events::Never;
    Table { name, rows, models: false, events, cached: false, audited: false, cascades: &[] }
}

const fn models(name: &'static str, rows: Rows) -> Table {
    Table { models: true, ..table(name, rows) }
}

pub(crate) static USERS: Table =
    Table { audited: true, cascades: &[&PORTFOLIOS], ..models("users", Rows::Owned) };
pub(crate) static PORTFOLIOS: Table = Table {
    audited: true,
    cascades: &[&POSITIONS, &ANALYSIS_RESULTS],
    ..models("portfolios", Rows::Owned)
};
pub(crate) static POSITIONS: Table =
    Table { audited: true, events: Events::Always, ..models("positions", Rows::Owned) };
pub(crate) static ANALYSIS_RESULTS: Table =
    Table { events: Events::Always, cached: true, ..models("analysis_results", Rows::Owned) };
pub(crate) static MARKET_DATA_CACHE: Table =
    Table { events: Events::AtItsEnd, cached: true, ..models("market_data_cache", Rows::Shared) };
pub(crate) static PRICE_HISTORY: Table =
    Table { events: Events::Always, ..models("price_history", Rows::Shared) };
pub(crate) static CORPORATE_ACTIONS: Table = models("corporate_actions", Rows::Shared);
pub(crate) static OPTIONS_DATA: Table = models("options_data", Rows::Shared);
pub(crate) static AUDIT_LOG: Table = table("audit_log", Rows::Owned);
pub(crate) static EVENTS: Table = table("events", Rows::Owned);
pub(crate) static EVENT_CONSUMERS: Table = table("event_consumers", Rows::Kept);
pub(crate) static CACHE_LEASES: Table = table("cache_leases", Rows::Owned);
pub(crate) static CACHE_CHANGES: Table = table("cache_changes", Rows::Owned);
pub(crate) static PRICE_REVISIONS: Table = table("price_revisions", Rows::Kept);
pub(crate) static KNOWLEDGE_POINTS: Table = table("knowledge_points", Rows::Kept);
pub(crate) static ARCHIVED_PRICE_YEARS: Table = table("archived_price_years", Rows::Kept);
pub(crate) static SWEPT_HISTORY: Table = table("swept_history", Rows::Kept);

/// All of them, in an order in which rows can be added; beside them there is only the list of migrations.
pub(crate) static TABLES: [&Table; 17] = [
    &USERS,
    &PORTFOLIOS,
    &POSITIONS,
    &ANALYSIS_RESULTS,
    &MARKET_DATA_CACHE,
    &PRICE_HISTORY,
    &CORPORATE_ACTIONS,
    &OPTIONS_DATA,
    &AUDIT_LOG,
    &EVENTS,
    &EVENT_CONSUMERS,
    &CACHE_LEASES,
    &CACHE_CHANGES,
    &PRICE_REVISIONS,
    &KNOWLEDGE_POINTS,
    &ARCHIVED_PRICE_YEARS,
    &SWEPT_HISTORY,
];

/// The channel on which processes are notified of changes of cached rows.
pub(crate) const CACHE_CHANNEL: &str = "buffetbot_cache";
/// The channel on which processes are notified of events.
pub(crate) const EVENT_CHANNEL: &str = "buffetbot_events";

impl Table {
    /// This table, and where rows were deleted those whose rows went with them.
    pub fn changed(&'static self, deleted: bool) -> Vec<&'static Table> {
        let mut changed = vec![self];
        if deleted {
            changed.extend(self.cascades.iter().flat_map(|table| table.changed(true)));
        }
        changed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_with_a_deleted_row_has_changed() {
        let names = |tables: Vec<&'static Table>| tables.iter().map(|t| t.name).collect::<Vec<_>>();
        let gone = ["users", "portfolios", "positions", "analysis_results"];
        assert_eq!(names(USERS.changed(true)), gone);
        assert_eq!(names(USERS.changed(false)), ["users"]);
    }
}
