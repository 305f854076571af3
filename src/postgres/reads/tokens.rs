//! SQL as words and signs.

use std::iter::Peekable;
use std::str::CharIndices;

/// A piece of SQL: comments and literals are left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Token<'s> {
    /// A name or a keyword; without its quotation marks.
    Word(&'s str),
    /// Any other sign.
    Mark(char),
}

impl Token<'_> {
    pub fn is(&self, word: &str) -> bool {
        matches!(self, Token::Word(own) if own.eq_ignore_ascii_case(word))
    }
}

pub(super) struct Tokens<'s> {
    sql: &'s str,
    left: Peekable<CharIndices<'s>>,
}

impl<'s> Tokens<'s> {
    pub fn of(sql: &'s str) -> Self {
        Tokens { sql, left: sql.char_indices().peekable() }
    }

    fn at(&mut self) -> usize {
        self.left.peek().map_or(self.sql.len(), |(at, _)| *at)
    }

    /// Goes behind `end`, which is looked for from here on.
    fn skip_past(&mut self, end: &str) {
        let from = self.at();
        let to = self.sql[from..].find(end).map_or(self.sql.len(), |at| from + at + end.len());
        self.go(to);
    }

    fn go(&mut self, to: usize) {
        while self.left.next_if(|(at, _)| *at < to).is_some() {}
    }

    /// Goes behind a comment, whose beginning was taken; they nest.
    fn skip_comment(&mut self) {
        let mut depth = 1;
        while depth > 0
            && let Some((at, _)) = self.left.next()
        {
            let here = &self.sql[at..];
            if here.starts_with("/*") || here.starts_with("*/") {
                depth += if here.starts_with('/') { 1 } else { -1 };
                self.left.next();
            }
        }
    }

    /// Goes behind a literal with backslashes.
    fn skip_escaped(&mut self) {
        while let Some((_, c)) = self.left.next() {
            match c {
                '\\' => drop(self.left.next()),
                '\'' => return,
                _ => {}
            }
        }
    }

    /// Goes behind a literal in dollars whose first one, at `from`, was taken. A parameter such as `$1` begins no literal.
    fn skip_dollars(&mut self, from: usize) {
        let inside = &self.sql[from + 1..];
        let Some(end) = inside.find('$') else { return };
        let name = &inside[..end];
        let is_tag = !name.starts_with(|c: char| c.is_ascii_digit())
            && name.chars().all(|c| c.is_alphanumeric() || c == '_');
        if is_tag {
            self.go(from + 1 + end + 1);
            self.skip_past(&self.sql[from..from + end + 2]);
        }
    }
}

impl<'s> Iterator for Tokens<'s> {
    type Item = Token<'s>;

    fn next(&mut self) -> Option<Token<'s>> {
        loop {
            let (from, c) = self.left.next()?;
            let here = &self.sql[from..];
            match c {
                _ if c.is_whitespace() => {}
                '-' if here.starts_with("--") => self.skip_past("\n"),
                '/' if here.starts_with("/*") => {
                    self.left.next();
                    self.skip_comment();
                }
                '\'' => {
                    self.skip_past("'");
                    return Some(Token::Mark('\''));
                }
                '$' => self.skip_dollars(from),
                '"' => {
                    let (begin, _) = (self.at(), self.skip_past("\""));
                    let end = self.at().saturating_sub(1).max(begin);
                    return Some(Token::Word(self.sql.get(begin..end).unwrap_or_default()));
                }
                'e' | 'E' if here[1..].starts_with('\'') => {
                    self.left.next();
                    self.skip_escaped();
                    return Some(Token::Mark('\''));
                }
                _ if c.is_alphabetic() || c == '_' => {
                    let is_part = |c: char| c.is_alphanumeric() || c == '_' || c == '$';
                    while self.left.next_if(|(_, c)| is_part(*c)).is_some() {}
                    let end = self.at();
                    return Some(Token::Word(&self.sql[from..end]));
                }
                _ => return Some(Token::Mark(c)),
            }
        }
    }
}
