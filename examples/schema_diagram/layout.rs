//! The layout of the entity diagram: its groups, the place of each table and the route of each arrow.
//!
//! The page has [`COLUMNS`] columns. A group spans one or more of them, and its tables fill the
//! shortest column first. Arrows run through the gutters between the columns only, so that they
//! cross no table. All lengths are in pixels.

use std::ops::Range;

use super::render::{Column, Reference, Schema, Table};

/// A domain of the schema: a labelled frame around its tables.
pub struct Group {
    pub label: &'static str,
    /// Background of its tables' headers; white text on it has a contrast of at least 4.5.
    pub color: &'static str,
    /// Background of its frame.
    pub tint: &'static str,
    /// The columns of the page that it spans.
    columns: Range<usize>,
    tables: &'static [&'static str],
}

/// Every table of the schema is in exactly one group. Tables that reference each other stand in the
/// same column or in neighbouring ones.
const GROUPS: [Group; 6] = [
    Group {
        label: "accounts",
        color: "#2b6cb0",
        tint: "#ebf4fb",
        columns: 0..1,
        tables: &["users"],
    },
    Group {
        label: "portfolios",
        color: "#285e61",
        tint: "#e8f6f5",
        columns: 0..1,
        tables: &["portfolios", "positions"],
    },
    Group {
        label: "events and audit",
        color: "#9c4221",
        tint: "#fdf2ea",
        columns: 0..1,
        tables: &["events", "event_consumers", "audit_log"],
    },
    Group {
        label: "market data",
        color: "#276749",
        tint: "#edf7f0",
        columns: 1..3,
        tables: &[
            "price_history",
            "price_revisions",
            "corporate_actions",
            "options_data",
            "market_data_cache",
            "archived_price_years",
            "knowledge_points",
            "swept_history",
        ],
    },
    Group {
        label: "analyses",
        color: "#6b46c1",
        tint: "#f4effc",
        columns: 1..2,
        tables: &["analysis_results"],
    },
    Group {
        label: "bookkeeping",
        color: "#4a5568",
        tint: "#f1f3f6",
        columns: 2..3,
        tables: &["cache_leases", "cache_changes"],
    },
];

const COLUMNS: usize = 3;
/// Gutters: left of the first column, between columns, right of the last one.
const GUTTERS: [usize; COLUMNS + 1] = [14, 18, 18, 6];
/// Width at which GitHub shows a picture in a README without scaling it.
pub const PAGE_WIDTH: usize = 830;

/// Font size of columns, legend and table names.
pub const FONT: usize = 11;
/// Font size of the labels of groups.
pub const LABEL_FONT: usize = 13;
/// Font size of the marks PK and FK.
pub const MARK_FONT: usize = 8;
pub const ROW: usize = 15;
pub const HEADER: usize = 19;
pub const LABEL: usize = 22;
/// Space between a table's edge and its text.
pub const INSET: usize = 5;
/// Space between a group's frame and its tables.
pub const PADDING: usize = 6;
/// Space between a column's name and its mark, and between those and its type.
const SPACE: usize = 6;
const TABLE_GAP: usize = 9;
const GROUP_GAP: usize = 12;
const MARGIN: usize = 8;
const LEGEND: usize = 22;
/// Least distance between two arrows in one gutter.
const LANE: usize = 4;

/// Upper bound of the width of a text in the fonts of the drawing.
///
/// A character of the usual monospaced fonts is 0.55 (Consolas) to 0.618 (SF Mono) of the font size.
pub const fn text_width(text_length: usize, font: usize) -> usize {
    (text_length * font * 62).div_ceil(100)
}

#[derive(Clone, Copy, Default)]
pub struct Rect {
    pub x: usize,
    pub y: usize,
    pub width: usize,
    pub height: usize,
}

impl Rect {
    pub fn right(&self) -> usize {
        self.x + self.width
    }
}

pub struct Layout<'a> {
    pub height: usize,
    pub groups: Vec<PlacedGroup<'a>>,
    pub arrows: Vec<Arrow>,
    /// Top of the legend under the groups.
    pub legend: usize,
}

pub struct PlacedGroup<'a> {
    pub group: &'static Group,
    pub frame: Rect,
    pub tables: Vec<PlacedTable<'a>>,
}

pub struct PlacedTable<'a> {
    pub table: &'a Table,
    pub frame: Rect,
    column: usize,
    marks: Vec<String>,
}

/// An arrow from a foreign key to the column it references: to a gutter, along it, to the table.
pub struct Arrow {
    pub from: (usize, usize),
    /// Where it runs along the gutter.
    pub lane: usize,
    pub to: (usize, usize),
    pub required: bool,
}

impl<'a> Layout<'a> {
    /// Places the tables of `schema`.
    ///
    /// # Errors
    ///
    /// A table without a group, a group's table that the schema does not have, a page too narrow
    /// for its columns, or references that cannot be drawn. The message says what to change.
    pub fn of(schema: &'a Schema) -> Result<Self, String> {
        check_groups(schema)?;
        let (mut groups, legend) = stack(schema);
        set_widths(&mut groups)?;
        let arrows = route(&schema.references, &groups)?;
        Ok(Self { height: legend + LEGEND, groups, arrows, legend })
    }
}

impl PlacedTable<'_> {
    /// Each column with its mark (`PK`, `FK`, `PK FK` or nothing).
    pub fn rows(&self) -> impl Iterator<Item = (&Column, &str)> {
        self.table.columns.iter().zip(self.marks.iter().map(String::as_str))
    }

    /// Middle of the row of the column `name`.
    fn row_middle(&self, name: &str) -> Option<usize> {
        let row = self.table.columns.iter().position(|column| column.name == name)?;
        Some(self.frame.y + HEADER + row * ROW + ROW / 2)
    }

    /// The least width that holds the table's name and all of its rows.
    fn text_width(&self) -> usize {
        let header = text_width(self.table.name.chars().count(), FONT);
        let rows = self.rows().map(|(column, mark)| {
            mark_offset(column)
                + text_width(mark.len(), MARK_FONT)
                + if mark.is_empty() { 0 } else { SPACE }
                + text_width(type_label(column).chars().count(), FONT)
        });
        rows.fold(header, usize::max)
    }
}

/// Distance from the start of a column's name to its mark.
pub fn mark_offset(column: &Column) -> usize {
    text_width(column.name.chars().count(), FONT) + SPACE
}

/// The type of a column, with `?` if the column may be null.
pub fn type_label(column: &Column) -> String {
    format!("{}{}", column.sql_type, if column.required { "" } else { "?" })
}

fn check_groups(schema: &Schema) -> Result<(), String> {
    for table in &schema.tables {
        let found = GROUPS.iter().filter(|g| g.tables.contains(&table.name.as_str())).count();
        if found != 1 {
            return Err(format!(
                "table {} is in {found} groups of the diagram; put it into exactly one group of \
                 GROUPS in examples/schema_diagram/layout.rs",
                table.name
            ));
        }
    }
    for group in &GROUPS {
        for name in group.tables {
            if !schema.tables.iter().any(|table| table.name == *name) {
                return Err(format!(
                    "the schema has no table {name}; remove it from the group \"{}\" of GROUPS in \
                     examples/schema_diagram/layout.rs",
                    group.label
                ));
            }
        }
    }
    Ok(())
}

/// Places groups and tables from top to bottom. Returns them without widths, and their lower end.
fn stack(schema: &Schema) -> (Vec<PlacedGroup<'_>>, usize) {
    let mut ends = [MARGIN; COLUMNS];
    let mut groups = Vec::new();
    for group in &GROUPS {
        let top = group.columns.clone().map(|column| ends[column]).fold(0, usize::max);
        let mut next = [top + LABEL; COLUMNS];
        let mut tables = Vec::new();
        for table in group.tables.iter().filter_map(|n| schema.tables.iter().find(|t| t.name == *n))
        {
            let shortest = group.columns.clone().min_by_key(|column| next[*column]);
            let column = shortest.unwrap_or(group.columns.start);
            let height = HEADER + table.columns.len() * ROW + 2;
            let frame = Rect { y: next[column], height, ..Rect::default() };
            next[column] += height + TABLE_GAP;
            tables.push(PlacedTable { table, frame, column, marks: marks(schema, table) });
        }
        let end = next.into_iter().fold(0, usize::max) - TABLE_GAP + PADDING;
        for column in group.columns.clone() {
            ends[column] = end + GROUP_GAP;
        }
        let frame = Rect { y: top, height: end - top, ..Rect::default() };
        groups.push(PlacedGroup { group, frame, tables });
    }
    (groups, ends.into_iter().fold(0, usize::max))
}

fn marks(schema: &Schema, table: &Table) -> Vec<String> {
    let mark = |column: &Column| {
        let refers =
            schema.references.iter().any(|r| r.child == table.name && r.column == column.name);
        match (column.primary, refers) {
            (true, true) => "PK FK",
            (true, false) => "PK",
            (false, true) => "FK",
            (false, false) => "",
        }
    };
    table.columns.iter().map(|column| mark(column).to_owned()).collect()
}

/// Makes each column of the page as wide as its tables need and shares out what is left.
fn set_widths(groups: &mut [PlacedGroup<'_>]) -> Result<(), String> {
    let mut widths = [0; COLUMNS];
    let tables = || groups.iter().flat_map(|group| &group.tables);
    for table in tables() {
        let width = table.text_width() + 2 * (INSET + PADDING);
        widths[table.column] = widths[table.column].max(width);
    }
    let needed = widths.iter().sum::<usize>() + GUTTERS.iter().sum::<usize>();
    let Some(spare) = PAGE_WIDTH.checked_sub(needed) else {
        let widest = tables().max_by_key(|table| table.text_width());
        return Err(format!(
            "the diagram needs {needed} px and has {PAGE_WIDTH}; the widest table is {}: abbreviate \
             its types in `short` of examples/schema_diagram/render.rs",
            widest.map_or("", |table| &table.table.name)
        ));
    };
    let mut starts = [0; COLUMNS];
    let mut x = 0;
    for ((start, width), gutter) in starts.iter_mut().zip(&mut widths).zip(GUTTERS) {
        *width += spare / COLUMNS;
        *start = x + gutter;
        x = *start + *width;
    }
    for group in groups {
        let Range { start, end } = group.group.columns;
        group.frame.x = starts[start];
        group.frame.width = starts[end - 1] + widths[end - 1] - starts[start];
        for table in &mut group.tables {
            table.frame.x = starts[table.column] + PADDING;
            table.frame.width = widths[table.column] - 2 * PADDING;
        }
    }
    Ok(())
}

/// The part of a gutter that all arrows to one table share.
struct Trunk<'a> {
    key: (&'a str, &'a str),
    gutter: usize,
}

fn route(references: &[Reference], groups: &[PlacedGroup<'_>]) -> Result<Vec<Arrow>, String> {
    let find = |name: &str| groups.iter().flat_map(|g| &g.tables).find(|t| t.table.name == name);
    let mut trunks: Vec<Trunk<'_>> = Vec::new();
    let mut routed = Vec::new();
    for reference in references {
        let Reference { child, column, parent, key, .. } = reference;
        let missing = || format!("cannot find both ends of {child}.{column} -> {parent}.{key}");
        let (from, to) = find(child).zip(find(parent)).ok_or_else(missing)?;
        let ends = from.row_middle(column).zip(to.row_middle(key)).ok_or_else(missing)?;

        // A column touches the gutters of its own number and of the next.
        let (low, high) = (from.column.max(to.column), from.column.min(to.column) + 1);
        let key = (parent.as_str(), key.as_str());
        let shared = trunks.iter().position(|t| t.key == key && (low..=high).contains(&t.gutter));
        let trunk = match shared {
            Some(trunk) => trunk,
            None => {
                let used = |gutter: &usize| trunks.iter().filter(|t| t.gutter == *gutter).count();
                let gutter = (low..=high).min_by_key(used).ok_or_else(|| {
                    format!(
                        "{child} references {parent}, which is more than one column away; move one \
                         of them in GROUPS in examples/schema_diagram/layout.rs"
                    )
                })?;
                trunks.push(Trunk { key, gutter });
                trunks.len() - 1
            }
        };
        routed.push((reference, from, to, ends, trunk));
    }

    let mut arrows = Vec::new();
    for (reference, from, to, ends, trunk) in routed {
        let gutter = trunks[trunk].gutter;
        let lanes = trunks.iter().filter(|t| t.gutter == gutter).count() + 1;
        let lane = trunks[..=trunk].iter().filter(|t| t.gutter == gutter).count();
        if GUTTERS[gutter] / lanes < LANE {
            return Err(format!(
                "{} arrows do not fit into gutter {gutter}; widen it in GUTTERS in \
                 examples/schema_diagram/layout.rs",
                lanes - 1
            ));
        }
        let side = |table: &PlacedTable<'_>| {
            if table.column == gutter { table.frame.x } else { table.frame.right() }
        };
        arrows.push(Arrow {
            from: (side(from), ends.0),
            lane: gutter_start(gutter, groups) + GUTTERS[gutter] * lane / lanes,
            to: (side(to), ends.1),
            required: reference.required,
        });
    }
    Ok(arrows)
}

/// The left edge of a gutter: the right edge of the column before it.
fn gutter_start(gutter: usize, groups: &[PlacedGroup<'_>]) -> usize {
    let tables = groups.iter().flat_map(|group| &group.tables);
    let before = tables.filter(|table| table.column + 1 == gutter);
    before.map(|table| table.frame.right() + PADDING).fold(0, usize::max)
}
