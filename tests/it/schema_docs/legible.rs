//! The entity diagram is legible: texts stay apart and inside their boxes, arrows go around tables.

use super::{layout, read};

#[derive(Clone, Copy, Debug, Default)]
struct Area {
    left: usize,
    top: usize,
    right: usize,
    bottom: usize,
}

impl Area {
    fn holds(&self, other: &Area) -> bool {
        self.left <= other.left
            && self.top <= other.top
            && self.right >= other.right
            && self.bottom >= other.bottom
    }

    /// Whether the interiors of both have a point in common. Also true for a line through an area.
    fn meets(&self, other: &Area) -> bool {
        self.left < other.right
            && other.left < self.right
            && self.top < other.bottom
            && other.top < self.bottom
    }

    fn size(&self) -> usize {
        (self.right - self.left) * (self.bottom - self.top)
    }
}

/// The box of a table, a group or the page.
#[derive(Debug, Default)]
struct Frame {
    class: String,
    name: String,
    area: Option<Area>,
}

/// What the drawing contains, in its own coordinates.
#[derive(Debug, Default)]
struct Picture {
    page: Area,
    groups: Vec<(String, Area)>,
    /// Tables with the area of their group.
    tables: Vec<(String, Area, Area)>,
    /// Texts with the area of the innermost box they are written in.
    texts: Vec<(String, Area, Area)>,
    /// Corners of each arrow, from the foreign key to the column it references.
    arrows: Vec<Vec<(usize, usize)>>,
}

fn attribute<'a>(element: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = element.split_once(&format!(" {name}=\""))?;
    Some(rest.split_once('"')?.0)
}

fn number(element: &str, name: &str) -> usize {
    let value = attribute(element, name).unwrap_or_else(|| panic!("no {name} in {element}"));
    value.parse().unwrap_or_else(|e| panic!("{name} of {element}: {e}"))
}

impl Picture {
    /// Reads a drawing in which each element stands on a line of its own.
    fn parse(svg: &str) -> Self {
        let mut picture = Self::default();
        let mut open: Vec<Frame> = vec![Frame::default()];
        for line in svg.lines() {
            if line.starts_with("<g ") {
                let class = attribute(line, "class").expect("a class").to_owned();
                let name = attribute(line, "id").expect("an id").to_owned();
                open.push(Frame { class, name, area: None });
            } else if line == "</g>" {
                let frame = open.pop().expect("an open element");
                let area = frame.area.expect("a box");
                match frame.class.as_str() {
                    "group" => picture.groups.push((frame.name, area)),
                    "table" => picture.tables.push((frame.name, area, innermost(&open))),
                    other => panic!("unknown class {other}"),
                }
            } else if line.starts_with("<rect ") {
                let (left, top) = (number(line, "x"), number(line, "y"));
                let (right, bottom) = (left + number(line, "width"), top + number(line, "height"));
                let frame = open.last_mut().expect("an open element");
                // A second rectangle is the background of a table's header.
                frame.area.get_or_insert(Area { left, top, right, bottom });
            } else if line.starts_with("<text ") {
                let (area, text) = text(line);
                picture.texts.push((text, area, innermost(&open)));
            } else if line.starts_with("<path ") {
                picture.arrows.push(corners(attribute(line, "d").expect("a path")));
            }
        }
        picture.page = innermost(&open);
        picture
    }

    /// What makes the picture hard to read, one line each.
    fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        for (index, (text, area, frame)) in self.texts.iter().enumerate() {
            if !frame.holds(area) {
                faults.push(format!("{text} leaves its box"));
            }
            for (other, other_area, _) in &self.texts[index + 1..] {
                if area.meets(other_area) {
                    faults.push(format!("{text} overlaps {other}"));
                }
            }
        }
        for (index, (name, area, group)) in self.tables.iter().enumerate() {
            if !group.holds(area) {
                faults.push(format!("table {name} leaves its group"));
            }
            for (other, other_area, _) in &self.tables[index + 1..] {
                if area.meets(other_area) {
                    faults.push(format!("table {name} overlaps table {other}"));
                }
            }
        }
        for (index, (name, area)) in self.groups.iter().enumerate() {
            if !self.page.holds(area) {
                faults.push(format!("group {name} leaves the page"));
            }
            for (other, other_area) in &self.groups[index + 1..] {
                if area.meets(other_area) {
                    faults.push(format!("group {name} overlaps group {other}"));
                }
            }
        }
        for arrow in &self.arrows {
            self.check_arrow(arrow, &mut faults);
        }
        faults
    }

    fn check_arrow(&self, corners: &[(usize, usize)], faults: &mut Vec<String>) {
        for segment in corners.windows(2) {
            let (a, b) = (segment[0], segment[1]);
            let line = Area {
                left: a.0.min(b.0),
                top: a.1.min(b.1),
                right: a.0.max(b.0),
                bottom: a.1.max(b.1),
            };
            if !self.page.holds(&line) {
                faults.push(format!("the arrow {corners:?} leaves the page"));
            }
            let tables = self.tables.iter().map(|(name, area, _)| (name, area));
            let texts = self.texts.iter().map(|(text, area, _)| (text, area));
            for (name, area) in tables.chain(texts) {
                if area.meets(&line) {
                    faults.push(format!("the arrow {corners:?} crosses {name}"));
                }
            }
        }
        for (x, y) in [corners.first(), corners.last()].into_iter().flatten() {
            let touches = |area: &Area| {
                (*x == area.left || *x == area.right) && (area.top..area.bottom).contains(y)
            };
            if !self.tables.iter().any(|(_, area, _)| touches(area)) {
                faults.push(format!("the arrow {corners:?} does not end at a table"));
            }
        }
    }
}

/// The innermost open element that has a box.
fn innermost(open: &[Frame]) -> Area {
    open.iter().rev().find_map(|frame| frame.area).expect("the page")
}

/// The area and the content of a text.
fn text(line: &str) -> (Area, String) {
    let content = line.split_once('>').and_then(|(_, rest)| rest.strip_suffix("</text>"));
    let content = content.expect("a text").replace("&lt;", "<").replace("&amp;", "&");
    let (x, base, font) = (number(line, "x"), number(line, "y"), number(line, "font-size"));
    let width = layout::text_width(content.chars().count(), font);
    let left = match attribute(line, "text-anchor") {
        Some("end") => x.checked_sub(width).expect("a text on the page"),
        _ => x,
    };
    // Letters rise by less than the font's size and descend by less than a quarter of it.
    let area =
        Area { left, top: base - font, right: left + width, bottom: base + font.div_ceil(4) };
    (area, content)
}

/// The corners of a path of the form `M<x> <y>H<x>V<y>H<x>`.
fn corners(path: &str) -> Vec<(usize, usize)> {
    let numbers: Vec<usize> = path
        .split(|c: char| !c.is_ascii_digit())
        .filter(|part| !part.is_empty())
        .map(|part| part.parse().expect("a number"))
        .collect();
    let [x, y, lane, end, to] = numbers[..] else { panic!("unknown form of path {path}") };
    vec![(x, y), (lane, y), (lane, end), (to, end)]
}

#[test]
fn nothing_overlaps_or_leaves_its_box() {
    let picture = Picture::parse(&read("docs/schema.svg"));
    assert!(!picture.tables.is_empty() && !picture.texts.is_empty() && !picture.arrows.is_empty());
    assert_eq!(picture.faults(), Vec::<String>::new());
}

/// GitHub scales a wider picture down, and its texts with it.
#[test]
fn the_picture_has_the_width_of_a_readme_and_no_empty_part() {
    let picture = Picture::parse(&read("docs/schema.svg"));
    assert!(picture.page.right <= layout::PAGE_WIDTH);
    let covered: usize = picture.tables.iter().map(|(_, area, _)| area.size()).sum();
    let percent = 100 * covered / picture.page.size();
    assert!(percent >= 70, "tables cover only {percent} % of the picture");
}

/// The checks above find what they look for.
#[test]
fn faults_of_a_drawing_are_found() {
    let sound = "\
<rect x=\"0\" y=\"0\" width=\"300\" height=\"200\"/>
<g class=\"group\" id=\"accounts\">
<rect x=\"20\" y=\"10\" width=\"120\" height=\"180\"/>
<g class=\"table\" id=\"users\">
<rect x=\"30\" y=\"20\" width=\"100\" height=\"60\"/>
<text x=\"32\" y=\"40\" font-size=\"10\">email</text>
<text x=\"128\" y=\"40\" font-size=\"10\" text-anchor=\"end\">text</text>
</g>
<g class=\"table\" id=\"sessions\">
<rect x=\"30\" y=\"100\" width=\"100\" height=\"60\"/>
</g>
</g>
<path d=\"M30 120H10V50H30\"/>
";
    let faults = |from: &str, to: &str| {
        assert!(sound.contains(from), "{from}");
        Picture::parse(&sound.replace(from, to)).faults()
    };
    assert_eq!(faults("", ""), Vec::<String>::new());
    assert_eq!(faults(">text<", ">varchar(255)<"), ["email overlaps varchar(255)"]);
    assert_eq!(faults("x=\"32\"", "x=\"28\""), ["email leaves its box"]);
    assert_eq!(faults("height=\"180\"", "height=\"140\""), ["table sessions leaves its group"]);
    assert_eq!(faults("y=\"100\"", "y=\"70\""), ["table users overlaps table sessions"]);
    let through = faults("H10V50H30", "H60V50H30").join("; ");
    assert!(through.contains("crosses sessions") && through.contains("crosses users"), "{through}");
    let loose = faults("V50H30", "V90H30").join("; ");
    assert!(loose.contains("does not end at a table"), "{loose}");
}
