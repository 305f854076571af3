//! Rows in PostgreSQL's binary COPY format, on their way in.
//!
//! The form (see "Binary Format" of the COPY command's documentation): a signature, flags and the length
//! of an extension; per row the number of its fields, and per field its length and the bytes that the
//! type's send function would give; a trailer.

use bigdecimal::BigDecimal;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::pg_connection::PgConnection;
use crate::error::{Error, Result};
use crate::types::numeric;

/// The signature, no flags, no extension.
const HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
const TRAILER: [u8; 2] = (-1i16).to_be_bytes();
const NULL: [u8; 4] = (-1i32).to_be_bytes();

/// Midnight of 2000-01-01, from which PostgreSQL counts, in microseconds since 1970.
const EPOCH: i64 = 946_684_800_000_000;

/// Bytes of one message: the server is busy with one piece while the next is encoded.
const PIECE: usize = 1 << 16;

/// One row that is being written, field by field, in the order of the statement's columns.
pub(crate) struct RowWriter<'a> {
    buffer: &'a mut Vec<u8>,
    /// Fields that are still missing.
    fields: i16,
}

impl RowWriter<'_> {
    pub fn uuid(&mut self, id: impl Into<Uuid>) {
        self.bytes(id.into().as_bytes());
    }

    pub fn text(&mut self, text: &str) {
        self.bytes(text.as_bytes());
    }

    pub fn bool(&mut self, value: bool) {
        self.bytes(&[u8::from(value)]);
    }

    /// Within the years that PostgreSQL and chrono share.
    pub fn timestamp(&mut self, at: DateTime<Utc>) {
        self.bytes(&(at.timestamp_micros() - EPOCH).to_be_bytes());
    }

    pub fn bigint(&mut self, value: Option<i64>) {
        match value {
            Some(value) => self.bytes(&value.to_be_bytes()),
            None => self.null(),
        }
    }

    pub fn numeric(&mut self, value: Option<&BigDecimal>) {
        let Some(value) = value else {
            return self.null();
        };
        let start = self.buffer.len();
        self.buffer.extend_from_slice(&NULL);
        numeric::encode(value, self.buffer);
        let length = (self.buffer.len() - start - NULL.len()) as i32;
        self.buffer[start..start + NULL.len()].copy_from_slice(&length.to_be_bytes());
        self.fields -= 1;
    }

    /// The bytes as they are, or NULL.
    #[cfg(feature = "arrow")]
    pub fn raw(&mut self, bytes: Option<&[u8]>) {
        match bytes {
            Some(bytes) => self.bytes(bytes),
            None => self.null(),
        }
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(&(bytes.len() as i32).to_be_bytes());
        self.buffer.extend_from_slice(bytes);
        self.fields -= 1;
    }

    fn null(&mut self) {
        self.buffer.extend_from_slice(&NULL);
        self.fields -= 1;
    }
}

impl PgConnection {
    /// Runs `COPY ... FROM STDIN (FORMAT binary)`, the statement given by the caller, with the rows that
    /// `encode` writes of `items`, `fields` each; returns how many were stored.
    ///
    /// # Errors
    /// Whatever the server reports; nothing is stored then.
    pub(crate) async fn copy_rows_in<T>(
        &self,
        sql: &str,
        fields: i16,
        items: impl IntoIterator<Item = T, IntoIter: Send>,
        mut encode: impl FnMut(T, &mut RowWriter<'_>) + Send,
    ) -> Result<u64> {
        let items = items.into_iter();
        let mut copy = self.start_copy_in(sql).await?;
        let mut buffer = Vec::with_capacity(2 * PIECE);
        buffer.extend_from_slice(HEADER);
        for item in items {
            buffer.extend_from_slice(&fields.to_be_bytes());
            let mut row = RowWriter { buffer: &mut buffer, fields };
            encode(item, &mut row);
            if row.fields != 0 {
                return Err(Error::invalid("copy", "a row with another number of fields"));
            }
            if buffer.len() >= PIECE {
                let piece = std::mem::replace(&mut buffer, Vec::with_capacity(2 * PIECE));
                copy.send(Bytes::from(piece)).await?;
            }
        }
        buffer.extend_from_slice(&TRAILER);
        copy.send(Bytes::from(buffer)).await?;
        copy.finish().await
    }
}
