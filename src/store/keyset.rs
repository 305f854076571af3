//! Keyset pagination of a boxed Diesel query.

/// Restricts `query` to one page, newest first, equal times by falling id. The first condition is
/// implied by the second, but it alone lets the planner start inside an index on the time.
macro_rules! newest_first {
    ($query:expr, $page:expr, $at:expr, $id:expr) => {{
        use diesel::prelude::{BoolExpressionMethods, ExpressionMethods, QueryDsl};
        let mut query = $query;
        if let Some(cursor) = &$page.after {
            let at = cursor.time();
            query = query.filter($at.le(at)).filter($at.lt(at).or($id.lt(cursor.id)));
        }
        query.order(($at.desc(), $id.desc())).limit($page.fetch_limit())
    }};
}
pub(crate) use newest_first;
