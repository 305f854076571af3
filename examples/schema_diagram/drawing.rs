//! The entity diagram as SVG.

use std::fmt::Write;

use super::layout::{
    Arrow, FONT, HEADER, INSET, LABEL, LABEL_FONT, Layout, MARK_FONT, PADDING, PAGE_WIDTH,
    PlacedGroup, PlacedTable, ROW, Rect, mark_offset, text_width, type_label,
};

/// The background is white instead of transparent: the picture is also shown on dark pages, and a
/// picture cannot see which theme its page has.
const HEAD: &str = r##"<title>The tables of the database and their foreign keys</title>
<style>
text { font-family: ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", "Liberation Mono", monospace; fill: #1a202c; }
.title { font-weight: bold; fill: #ffffff; }
.label, .mark { font-weight: bold; }
.mark { fill: #9b2c2c; }
.type { fill: #4a5568; }
.card { fill: #ffffff; stroke: #a0aec0; }
.arrow { fill: none; stroke: #1a202c; stroke-width: 1.3; }
.optional { stroke-dasharray: 4 3; }
</style>
<defs><marker id="head" markerWidth="8" markerHeight="8" refX="7" refY="4" orient="auto" markerUnits="userSpaceOnUse"><path d="M0 0L8 4L0 8Z" fill="#1a202c"/></marker></defs>
"##;

const LEGEND: [&str; 3] = [
    "PK primary key",
    "FK foreign key, with an arrow to the column it references",
    "?, dashed arrow: may be null",
];

/// Draws the diagram. Each element stands on a line of its own.
pub fn svg(layout: &Layout<'_>) -> String {
    let height = layout.height;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{PAGE_WIDTH}\" height=\"{height}\" \
         viewBox=\"0 0 {PAGE_WIDTH} {height}\" role=\"img\">\n{HEAD}"
    );
    let page = Rect { x: 0, y: 0, width: PAGE_WIDTH, height };
    rect(&mut svg, page, "rx=\"6\" fill=\"#ffffff\"");
    for group in &layout.groups {
        draw_group(&mut svg, group);
    }
    for arrow in &layout.arrows {
        draw_arrow(&mut svg, arrow);
    }
    draw_legend(&mut svg, layout);
    svg.push_str("</svg>\n");
    svg
}

fn draw_group(svg: &mut String, placed: &PlacedGroup<'_>) {
    let PlacedGroup { group, frame, tables } = placed;
    let _ = writeln!(svg, "<g class=\"group\" id=\"{}\">", group.label.replace(' ', "-"));
    rect(svg, *frame, &format!("rx=\"5\" fill=\"{0}\" stroke=\"{1}\"", group.tint, group.color));
    let style = format!("class=\"label\" style=\"fill: {}\"", group.color);
    text(svg, (frame.x + PADDING + 1, frame.y + LABEL - 7), LABEL_FONT, &style, group.label);
    for table in tables {
        draw_table(svg, table, group.color);
    }
    svg.push_str("</g>\n");
}

fn draw_table(svg: &mut String, placed: &PlacedTable<'_>, color: &str) {
    let frame = placed.frame;
    let (left, right) = (frame.x + INSET, frame.right() - INSET);
    let _ = writeln!(svg, "<g class=\"table\" id=\"{}\">", placed.table.name);
    rect(svg, frame, "class=\"card\"");
    rect(svg, Rect { height: HEADER, ..frame }, &format!("fill=\"{color}\""));
    text(svg, (left, frame.y + HEADER - 6), FONT, "class=\"title\"", &placed.table.name);
    let mut base = frame.y + HEADER + ROW - 4;
    for (column, mark) in placed.rows() {
        text(svg, (left, base), FONT, "class=\"name\"", &column.name);
        if !mark.is_empty() {
            text(svg, (left + mark_offset(column), base), MARK_FONT, "class=\"mark\"", mark);
        }
        let style = "class=\"type\" text-anchor=\"end\"";
        text(svg, (right, base), FONT, style, &type_label(column));
        base += ROW;
    }
    svg.push_str("</g>\n");
}

fn draw_arrow(svg: &mut String, arrow: &Arrow) {
    let Arrow { from, lane, to, required } = arrow;
    let style = if *required { "arrow" } else { "arrow optional" };
    let _ = writeln!(
        svg,
        "<path class=\"{style}\" marker-end=\"url(#head)\" d=\"M{} {}H{lane}V{}H{}\"/>",
        from.0, from.1, to.1, to.0
    );
}

fn draw_legend(svg: &mut String, layout: &Layout<'_>) {
    let mut x = layout.groups.iter().map(|group| group.frame.x).min().unwrap_or_default();
    for part in LEGEND {
        text(svg, (x, layout.legend + FONT), FONT, "class=\"type\"", part);
        x += text_width(part.len() + 3, FONT);
    }
}

fn rect(svg: &mut String, rect: Rect, style: &str) {
    let Rect { x, y, width, height } = rect;
    let _ =
        writeln!(svg, "<rect x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{height}\" {style}/>");
}

fn text(svg: &mut String, (x, y): (usize, usize), font: usize, style: &str, text: &str) {
    let text = text.replace('&', "&amp;").replace('<', "&lt;");
    let _ = writeln!(svg, "<text x=\"{x}\" y=\"{y}\" font-size=\"{font}\" {style}>{text}</text>");
}
