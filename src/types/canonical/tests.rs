use crate::types::canonical::*;

/// Also of what no [`Document`] is: a spelling has no limits.
fn of(json: &str) -> String {
    spelled(json)
}

#[test]
fn one_spelling() {
    for (spelling, others) in [
        ("1", &["1.0", "1.00", "1e0", "10e-1", "0.1E+1", "1e-0", "1e+000"][..]),
        ("0", &["-0", "0.0", "-0.000", "0e5", "0e99999999999999999999"]),
        ("-15e-1", &["-1.5", "-0.15e1", "-1500e-3", "-1.50"]),
        ("1e400", &["10e399", "0.01e402"]),
        ("9007199254740993", &["9007199254740993.0", "90071992547409930e-1"]),
        ("1e9223372036854775808", &["10e9223372036854775807"]),
        (r#"{"a":1,"b":[2,{}]}"#, &[r#" { "b" : [ 2 , { } ], "a" : 1.0 } "#]),
        (r#"{"a":1}"#, &[r#"{"a":2,"\u0061":1}"#, r#"{"a":{"a":3},"a":2,"a":1}"#]),
        (r#"{"":0,"a":{"b":1,"c":2},"ab":3}"#, &[r#"{"ab":3,"a":{"c":2,"b":1},"":0}"#]),
        (r#""a/\"\\é😀""#, &[r#""\u0061\/\u0022\u005c\u00e9\ud83d\uDE00""#]),
        (r#""\u0008\u000c\u000a\u000d\u0009\u001f""#, &[r#""\b\f\n\r\t\u001F""#]),
        (r#"[true,false,null]"#, &["[ true ,\tfalse\n,null\r]"]),
    ] {
        for other in others.iter().chain([&spelling]) {
            assert_eq!(of(other), spelling);
        }
    }
}

#[test]
fn what_differs_stays_different() {
    let texts = [
        "null",
        "{}",
        "[]",
        "\"\"",
        "0",
        "\"0\"",
        "false",
        "\"false\"",
        "[0]",
        "[[0]]",
        "1",
        "-1",
        "1e1",
        "1e-1",
        "11",
        "[1,1]",
        "[1,2]",
        "[2,1]",
        "{\"1\":1}",
        "{\"1\":\"1\"}",
        "{\"a\":1,\"b\":2}",
        "{\"a\":2,\"b\":1}",
        "{\"a\":{\"b\":2}}",
        "{\"a\":null}",
        "9007199254740992",
        "9007199254740993",
        "1e99999999999999999999",
        "1e99999999999999999998",
        "\"\\ud83d\"",
        "\"\\\\ud83d\"",
        "\"\\ud83d\\ud83d\"",
        "\"\\n\"",
        "\"n\"",
        "\"\\\\n\"",
        "\" \"",
        "\"a,b\"",
        "[\"a\",\"b\"]",
        "\"\\\",\\\"\"",
    ];
    for (i, a) in texts.iter().enumerate() {
        assert_ne!(of(a), canonical(None));
        for b in &texts[..i] {
            assert_ne!(of(a), of(b), "{a} {b}");
        }
    }
}

#[test]
fn depth_and_length_have_no_limit() {
    let deep = "[".repeat(200_000) + &"]".repeat(200_000);
    assert_eq!(of(&deep), deep);
    let objects = "{\"a\":".repeat(100_000) + "1.0" + &"}".repeat(100_000);
    assert_eq!(of(&objects), objects.replace("1.0", "1"));
    let digits = "9".repeat(100_000);
    assert_eq!(of(&format!("0.{digits}")), format!("{digits}e-100000"));
}

#[cfg(feature = "testing")]
mod against_postgresql {
    use diesel::sql_types::{Array, Bool, Text};
    use diesel_async::RunQueryDsl;

    use super::of;
    use crate::testing::TestDatabase;
    use crate::types::random::Random;

    #[derive(Debug, Clone)]
    enum Node {
        Word(&'static str),
        Number { negative: bool, digits: String, exponent: i32 },
        Text(String),
        Array(Vec<Node>),
        Object(Vec<(String, Node)>),
    }

    /// Few values of each kind, so that two documents often are equal, or nearly.
    fn node(random: &mut Random, depth: usize) -> Node {
        match random.below(if depth == 0 { 3 } else { 5 }) {
            0 => Node::Word(random.one_of(&["true", "false", "null"])),
            1 => {
                let negative = random.below(2) == 0;
                let digits = if random.below(2) == 0 {
                    let length = 1 + random.below(3);
                    (0..length).map(|_| random.one_of(&['0', '1'])).collect()
                } else {
                    (0..30).map(|_| random.one_of(&DIGITS)).collect()
                };
                Node::Number { negative, digits, exponent: random.below(6) as i32 - 3 }
            }
            2 => Node::Text(text(random)),
            3 => {
                let length = random.below(3);
                Node::Array((0..length).map(|_| node(random, depth - 1)).collect())
            }
            _ => {
                let length = random.below(4);
                let member = |_| (text(random), node(random, depth - 1));
                Node::Object((0..length).map(member).collect())
            }
        }
    }

    const DIGITS: [char; 10] = ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9'];
    const PLAIN: [char; 2] = ['a', 'b'];
    const SPECIAL: [char; 9] = ['\u{1}', '\n', '"', '/', '\\', 'é', '😀', '\u{7f}', '\u{2028}'];

    fn text(random: &mut Random) -> String {
        let letters = if random.below(2) == 0 { &PLAIN[..] } else { &SPECIAL };
        let length = random.below(3);
        (0..length).map(|_| random.one_of(letters)).collect()
    }

    /// A spelling of `node`, which `pick` chooses: a number below its argument.
    fn spell(node: &Node, pick: &mut impl FnMut(usize) -> usize) -> String {
        let body = match node {
            Node::Word(word) => (*word).to_owned(),
            Node::Number { negative, digits, exponent } => {
                let point = pick(digits.len());
                let (whole, fraction) = digits.split_at(digits.len() - point);
                let whole = whole.trim_start_matches('0');
                let mut text = format!("{}{whole}", if *negative { "-" } else { "" });
                if whole.is_empty() {
                    text.push('0');
                }
                let zeros = "0".repeat(pick(3));
                if !(fraction.is_empty() && zeros.is_empty()) {
                    text = format!("{text}.{fraction}{zeros}");
                }
                let exponent = exponent + point as i32;
                let forms = [format!("e{exponent}"), format!("E{exponent:+}")];
                text + if exponent == 0 { "" } else { &forms[pick(2)] }
            }
            Node::Text(text) => spell_text(text, pick),
            Node::Array(items) => {
                let items: Vec<_> = items.iter().map(|item| spell(item, pick)).collect();
                format!("[{}]", items.join(","))
            }
            Node::Object(members) => {
                let mut order: Vec<usize> = (0..members.len()).collect();
                // A move past a key that is the same changes which of them is last.
                if members.len() > 1 {
                    let (a, b) = (pick(members.len()), pick(members.len()));
                    order.swap(a, b);
                }
                let member = |i: usize| {
                    let key = spell_text(&members[i].0, pick);
                    format!("{key}:{}", spell(&members[i].1, pick))
                };
                let members: Vec<_> = order.into_iter().map(member).collect();
                format!("{{{}}}", members.join(","))
            }
        };
        let space = ["", " ", "\n\t"];
        format!("{}{body}{}", space[pick(3)], space[pick(3)])
    }

    fn spell_text(text: &str, pick: &mut impl FnMut(usize) -> usize) -> String {
        let mut out = String::from("\"");
        for character in text.chars() {
            match character {
                '/' if pick(2) == 0 => out.push_str("\\/"),
                '\n' if pick(2) == 0 => out.push_str("\\n"),
                '"' | '\\' if pick(2) == 0 => out.extend(['\\', character]),
                _ if pick(2) == 0 && !character.is_control() && !"\"\\".contains(character) => {
                    out.push(character);
                }
                _ => {
                    for unit in character.encode_utf16(&mut [0; 2]) {
                        out.push_str(&format!("\\u{unit:04X}"));
                    }
                }
            }
        }
        out + "\""
    }

    #[tokio::test]
    async fn equal_exactly_where_jsonb_is() {
        let mut random = Random::new(1);
        let (mut left, mut right) = (Vec::new(), Vec::new());
        for _ in 0..3_000 {
            let (a, b) = (node(&mut random, 3), node(&mut random, 3));
            let respell = random.below(2) == 0;
            let mut pick = |n: usize| random.below(n);
            left.push(spell(&a, &mut pick));
            right.push(spell(if respell { &a } else { &b }, &mut pick));
        }
        for (a, b) in [("1e-16383", "1e-16382"), ("1e131071", "10e131070"), ("1e300", "1e301")] {
            left.push(a.into());
            right.push(b.into());
        }
        let db = TestDatabase::empty().await.expect("a database");
        let connection = db.connection().await.expect("a connection");
        let sql = "SELECT array_agg(a::jsonb = b::jsonb ORDER BY n) AS equal
            FROM unnest($1, $2) WITH ORDINALITY AS t(a, b, n)";
        #[derive(diesel::QueryableByName)]
        struct Row {
            #[diesel(sql_type = Array<Bool>)]
            equal: Vec<bool>,
        }
        let row: Row = diesel::sql_query(sql)
            .bind::<Array<Text>, _>(&left)
            .bind::<Array<Text>, _>(&right)
            .get_result(&mut connection.as_diesel())
            .await
            .expect("PostgreSQL reads them all");
        let equals = row.equal.iter().filter(|equal| **equal).count();
        assert!((1_000..2_500).contains(&equals), "both cases are frequent: {equals}");
        for ((a, b), equal) in left.iter().zip(&right).zip(row.equal) {
            assert_eq!(of(a) == of(b), equal, "{a} and {b}: {} and {}", of(a), of(b));
        }
    }
}
