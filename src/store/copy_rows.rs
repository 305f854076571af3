//! Rows in PostgreSQL's binary COPY format, on their way out.
//!
//! The form is described in `copy_binary`. Pieces may be cut anywhere; a row that arrives whole, as the server
//! sends it, is read where it lies.

use futures_util::StreamExt;

use super::atomic::Atomic;
use super::session::Session;
use crate::config::StatementMode;
use crate::error::{Error, Result, Unreadable};
use crate::postgres::{CopyOut, Lease, PgConnection};

const SIGNATURE: &[u8] = b"PGCOPY\n\xff\r\n\0";
/// Signature, flags, length of the extension.
const HEADER: usize = SIGNATURE.len() + 8;
/// The flags that a reader must know; there is one, which marks a field that is no longer sent.
const CRITICAL: u32 = 0xffff_0000;
/// Longest extension of the header; PostgreSQL defines no extension.
const MOST_EXTENSION: usize = 1 << 16;
/// Longest field: PostgreSQL's own limit of a value.
const MOST_FIELD: usize = 1 << 30;

/// Where a field lies in the bytes of its row; `None` is NULL.
type Place = Option<(usize, usize)>;

/// One whole row; its fields are read in order.
#[derive(Clone)]
pub(crate) struct CopiedRow<'a> {
    bytes: &'a [u8],
    places: std::slice::Iter<'a, Place>,
}

impl<'a> CopiedRow<'a> {
    /// The next field; `None` is NULL.
    ///
    /// # Errors
    /// There is no further one.
    pub fn field(&mut self) -> Result<Option<&'a [u8]>> {
        match self.places.next() {
            Some(Some((start, end))) => Ok(Some(&self.bytes[*start..*end])),
            Some(None) => Ok(None),
            None => Err(damaged("too few fields")),
        }
    }
}

enum State {
    Header,
    Rows,
    Ended,
}

/// Cuts what arrives into rows.
pub(crate) struct RowParser {
    state: State,
    /// Of the fields of the row at hand.
    places: Vec<Place>,
    /// The beginning of what has not arrived whole.
    kept: Vec<u8>,
}

impl RowParser {
    /// Of rows with so many fields.
    pub fn new(fields: u16) -> Self {
        RowParser { state: State::Header, places: vec![None; fields.into()], kept: Vec::new() }
    }

    /// Takes the next piece, and gives each row that is whole by now to `each`.
    ///
    /// # Errors
    /// [`Error::Corrupt`] of what is not in this form; the first error of `each`.
    pub fn feed(
        &mut self,
        piece: &[u8],
        mut each: impl FnMut(CopiedRow<'_>) -> Result<()>,
    ) -> Result<()> {
        if self.kept.is_empty() {
            let used = self.consume(piece, &mut each)?;
            self.kept.extend_from_slice(&piece[used..]);
            return Ok(());
        }
        let mut kept = std::mem::take(&mut self.kept);
        kept.extend_from_slice(piece);
        let used = self.consume(&kept, &mut each)?;
        kept.drain(..used);
        self.kept = kept;
        Ok(())
    }

    /// To be called after the last piece.
    ///
    /// # Errors
    /// [`Error::Corrupt`] where the trailer has not arrived.
    pub fn finish(&self) -> Result<()> {
        match self.state {
            State::Ended => Ok(()),
            _ => Err(damaged("no trailer")),
        }
    }

    /// Returns how many bytes were used.
    fn consume(
        &mut self,
        bytes: &[u8],
        each: &mut impl FnMut(CopiedRow<'_>) -> Result<()>,
    ) -> Result<usize> {
        let mut used = 0;
        loop {
            let rest = &bytes[used..];
            match self.state {
                State::Header => match header(rest)? {
                    Some(length) => {
                        used += length;
                        self.state = State::Rows;
                    }
                    None => return Ok(used),
                },
                State::Rows => {
                    let Some((count, fields)) = rest.split_first_chunk() else {
                        return Ok(used);
                    };
                    match i16::from_be_bytes(*count) {
                        -1 => {
                            used += count.len();
                            self.state = State::Ended;
                        }
                        count if usize::try_from(count) != Ok(self.places.len()) => {
                            return Err(damaged("a row with another number of fields"));
                        }
                        _ => {
                            let Some(length) = whole(fields, &mut self.places)? else {
                                return Ok(used);
                            };
                            each(CopiedRow { bytes: fields, places: self.places.iter() })?;
                            used += count.len() + length;
                        }
                    }
                }
                State::Ended if rest.is_empty() => return Ok(used),
                State::Ended => return Err(damaged("data after the trailer")),
            }
        }
    }
}

/// The length of the header, once it is there.
fn header(bytes: &[u8]) -> Result<Option<usize>> {
    let known = bytes.len().min(SIGNATURE.len());
    if bytes[..known] != SIGNATURE[..known] {
        return Err(damaged("another signature"));
    }
    let Some(fixed) = bytes.get(SIGNATURE.len()..HEADER) else {
        return Ok(None);
    };
    let word =
        |at: usize| u32::from_be_bytes([fixed[at], fixed[at + 1], fixed[at + 2], fixed[at + 3]]);
    if word(0) & CRITICAL != 0 {
        return Err(damaged("unknown flags"));
    }
    let extension = word(4) as usize;
    if extension > MOST_EXTENSION {
        return Err(damaged("an extension of an impossible length"));
    }
    let length = HEADER + extension;
    Ok((bytes.len() >= length).then_some(length))
}

/// Finds the places of so many fields, once they are all there; returns their length.
fn whole(bytes: &[u8], places: &mut [Place]) -> Result<Option<usize>> {
    let mut at = 0;
    for place in places {
        let Some(length) = bytes.get(at..).and_then(|rest| rest.first_chunk()) else {
            return Ok(None);
        };
        at += length.len();
        *place = match i32::from_be_bytes(*length) {
            -1 => None,
            length if length < 0 || length.unsigned_abs() as usize > MOST_FIELD => {
                return Err(damaged("a field of an impossible length"));
            }
            length => {
                let start = at;
                at += length.unsigned_abs() as usize;
                Some((start, at))
            }
        };
    }
    Ok((bytes.len() >= at).then_some(at))
}

fn damaged(reason: &'static str) -> Error {
    Unreadable { column: "copy".into(), ..Unreadable::unknown(reason) }.into()
}

/// The rows of a running `COPY ... TO STDOUT (FORMAT binary)`. Dropped before its end, the statement is
/// cancelled and the connection discarded.
pub(crate) struct CopiedRows<'a> {
    pieces: CopyOut<'a>,
    parser: RowParser,
}

impl CopiedRows<'_> {
    /// Gives the rows of the next piece to `each`; `false` after the last.
    ///
    /// # Errors
    /// Whatever the server reports, and the first error of `each`.
    pub async fn next(&mut self, each: impl FnMut(CopiedRow<'_>) -> Result<()>) -> Result<bool> {
        match self.pieces.next().await {
            Some(piece) => self.parser.feed(&piece?, each).map(|()| true),
            None => self.parser.finish().map(|()| false),
        }
    }
}

impl PgConnection {
    /// Starts `COPY ... TO STDOUT (FORMAT binary)`, the statement given by the caller, of rows with so
    /// many fields.
    ///
    /// # Errors
    /// As [`copy_out`](Self::copy_out).
    pub(crate) async fn copied_rows(&self, sql: &str, fields: u16) -> Result<CopiedRows<'_>> {
        Ok(CopiedRows { pieces: self.start_copy_out(sql).await?, parser: RowParser::new(fields) })
    }
}

/// A connection to copy from.
pub(crate) enum Reading<'a> {
    Alone(Lease<'a>),
    /// In a transaction of its own.
    Within(Atomic<'a>),
}

impl Reading<'_> {
    /// # Errors
    /// Whatever the server reports at the end of the transaction.
    pub async fn end(self) -> Result<()> {
        match self {
            Reading::Alone(_) => Ok(()),
            Reading::Within(atomic) => atomic.commit().await,
        }
    }
}

impl std::ops::Deref for Reading<'_> {
    type Target = PgConnection;
    fn deref(&self) -> &PgConnection {
        match self {
            Reading::Alone(lease) => lease,
            Reading::Within(atomic) => atomic,
        }
    }
}

impl Session {
    /// A connection for one COPY out, which outside of a unit of work and in
    /// [`StatementMode::OneTrip`] needs a transaction.
    pub(crate) async fn reading(&self) -> Result<Reading<'_>> {
        let lease = self.connection().await?;
        if !self.is_pooled() || lease.statement_mode() == StatementMode::Prepared {
            return Ok(Reading::Alone(lease));
        }
        // Given back first: the pool may have no second one.
        drop(lease);
        Ok(Reading::Within(self.atomic().await?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Rows = Vec<Vec<Option<Vec<u8>>>>;

    fn stream() -> Vec<u8> {
        let mut bytes = SIGNATURE.to_vec();
        bytes.extend([0, 0, 0, 1, 0, 0, 0, 3, 9, 9, 9]);
        for fields in [[Some(&b"ab"[..]), None], [Some(b""), Some(b"xyz")]] {
            bytes.extend(2i16.to_be_bytes());
            for field in fields {
                bytes.extend(field.map_or(-1, |f| f.len() as i32).to_be_bytes());
                bytes.extend(field.unwrap_or_default());
            }
        }
        bytes.extend((-1i16).to_be_bytes());
        bytes
    }

    fn read(pieces: &[&[u8]]) -> Result<Rows> {
        let mut parser = RowParser::new(2);
        let mut rows = Vec::new();
        for piece in pieces {
            parser.feed(piece, |mut row| {
                let row = [row.field()?, row.field()?];
                rows.push(row.map(|field| field.map(<[u8]>::to_vec)).to_vec());
                Ok(())
            })?;
        }
        parser.finish()?;
        Ok(rows)
    }

    fn expected() -> Rows {
        vec![vec![Some(b"ab".to_vec()), None], vec![Some(Vec::new()), Some(b"xyz".to_vec())]]
    }

    #[test]
    fn pieces_may_be_cut_anywhere() {
        let bytes = stream();
        assert_eq!(read(&[&bytes]).expect("rows"), expected());
        for cut in 0..=bytes.len() {
            assert_eq!(read(&[&bytes[..cut], &bytes[cut..]]).expect("rows"), expected(), "{cut}");
        }
        let single: Vec<&[u8]> = bytes.chunks(1).collect();
        assert_eq!(read(&single).expect("rows"), expected());
    }

    #[test]
    fn whatever_is_cut_off_is_told() {
        let bytes = stream();
        for end in 0..bytes.len() {
            assert!(matches!(read(&[&bytes[..end]]), Err(Error::Corrupt { .. })), "{end}");
        }
    }

    #[test]
    fn hostile_bytes_are_refused() {
        let damage = |at: usize, with: &[u8]| {
            let mut bytes = stream();
            bytes[at..at + with.len()].copy_from_slice(with);
            bytes
        };
        let first_row = HEADER + 3;
        for bytes in [
            damage(0, b"X"),
            damage(11, &[0, 1]),
            damage(15, &[0xff; 4]),
            damage(first_row, &3i16.to_be_bytes()),
            damage(first_row, &(-2i16).to_be_bytes()),
            damage(first_row + 2, &(-2i32).to_be_bytes()),
            damage(first_row + 2, &i32::MAX.to_be_bytes()),
            [stream(), vec![0]].concat(),
        ] {
            assert!(matches!(read(&[&bytes]), Err(Error::Corrupt { .. })));
        }
    }

    #[test]
    fn no_byte_makes_it_panic() {
        for at in 0..stream().len() {
            for value in 0..=255 {
                let mut bytes = stream();
                bytes[at] = value;
                // Any result will do.
                let _ = read(&[&bytes]);
            }
        }
    }

    #[test]
    fn a_row_has_no_more_fields_than_it_has() {
        let mut row = CopiedRow { bytes: &[7], places: [Some((0, 1)), None].iter() };
        assert_eq!(row.field().expect("a field"), Some(&[7][..]));
        assert_eq!(row.field().expect("a field"), None);
        assert!(matches!(row.field(), Err(Error::Corrupt { .. })));
    }
}
