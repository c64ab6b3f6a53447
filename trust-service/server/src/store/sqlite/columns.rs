//! Columns to types and back; what does not parse is `Corrupt`, never a default.

use super::query::sql;
use super::{Result, StoreError};
use rusqlite::Row;
use rusqlite::types::{FromSqlError, ValueRef};
use serde::Serialize;
use serde::de::{DeserializeOwned, Error as _, IntoDeserializer as _};
use serde_json::Value;
use std::cell::Cell;

/// A value whose JSON form is a string, as that string: names, digests, enums.
pub(super) fn word<T: Serialize>(column: &'static str, value: &T) -> Result<String> {
    match serde_json::to_value(value) {
        Ok(Value::String(text)) => Ok(text),
        Ok(_) => Err(StoreError::Corrupt { column, source: serde_json::Error::custom("not a word") }),
        Err(source) => Err(StoreError::Corrupt { column, source }),
    }
}

pub(super) fn word_or_null<T: Serialize>(column: &'static str, value: &Option<T>) -> Result<Option<String>> {
    value.as_ref().map(|v| word(column, v)).transpose()
}

pub(super) fn json<T: Serialize>(column: &'static str, value: &T) -> Result<String> {
    serde_json::to_string(value).map_err(|source| StoreError::Corrupt { column, source })
}

pub(super) fn json_or_null<T: Serialize>(column: &'static str, value: &Option<T>) -> Result<Option<String>> {
    value.as_ref().map(|v| json(column, v)).transpose()
}

/// Numbers of SQLite are signed.
pub(super) fn number(column: &'static str, value: u64) -> Result<i64> {
    i64::try_from(value).map_err(|_| StoreError::Range(column))
}

pub(super) trait Columns {
    /// As it lies in the row: most columns are parsed, and need no copy.
    fn str_or_null(&self, column: &'static str) -> Result<Option<&str>>;
    fn bytes_or_null(&self, column: &'static str) -> Result<Option<Vec<u8>>>;
    fn signed(&self, column: &'static str) -> Result<Option<i64>>;

    fn text(&self, column: &'static str) -> Result<String> {
        some(column, self.text_or_null(column)?)
    }

    fn text_or_null(&self, column: &'static str) -> Result<Option<String>> {
        Ok(self.str_or_null(column)?.map(str::to_owned))
    }

    fn parse<T: DeserializeOwned>(&self, column: &'static str) -> Result<T> {
        some(column, self.parse_or_null(column)?)
    }

    fn parse_or_null<T: DeserializeOwned>(&self, column: &'static str) -> Result<Option<T>> {
        self.str_or_null(column)?.map(|text| from_word(column, text)).transpose()
    }

    fn json<T: DeserializeOwned>(&self, column: &'static str) -> Result<T> {
        some(column, self.json_or_null(column)?)
    }

    fn json_or_null<T: DeserializeOwned>(&self, column: &'static str) -> Result<Option<T>> {
        self.str_or_null(column)?.map(|text| from_json(column, text)).transpose()
    }

    fn number<T: TryFrom<i64>>(&self, column: &'static str) -> Result<T> {
        self.number_or_null(column)?.ok_or(StoreError::Range(column))
    }

    fn number_or_null<T: TryFrom<i64>>(&self, column: &'static str) -> Result<Option<T>> {
        let narrow = |n| T::try_from(n).map_err(|_| StoreError::Range(column));
        self.signed(column)?.map(narrow).transpose()
    }
}

/// A column that is never NULL.
fn some<T>(column: &'static str, value: Option<T>) -> Result<T> {
    value.ok_or_else(|| StoreError::Corrupt { column, source: serde_json::Error::custom("null") })
}

fn from_word<T: DeserializeOwned>(column: &'static str, text: &str) -> Result<T> {
    T::deserialize(text.into_deserializer()).map_err(|source| StoreError::Corrupt { column, source })
}

fn from_json<T: DeserializeOwned>(column: &'static str, text: &str) -> Result<T> {
    serde_json::from_str(text).map_err(|source| StoreError::Corrupt { column, source })
}

/// A row whose columns are mostly asked for in their order: finding one by name is a search else.
pub(super) struct Cols<'r, 's> {
    row: &'r Row<'s>,
    next: Cell<usize>,
}

impl<'r, 's> Cols<'r, 's> {
    pub(super) fn new(row: &'r Row<'s>) -> Self {
        Self { row, next: Cell::new(0) }
    }

    fn get(&self, column: &'static str) -> Result<ValueRef<'_>> {
        let next = self.next.get();
        let index = match self.row.as_ref().column_name(next) {
            Ok(name) if name == column => next,
            _ => self.row.as_ref().column_index(column).map_err(sql)?,
        };
        self.next.set(index.saturating_add(1));
        self.row.get_ref(index).map_err(sql)
    }
}

fn odd(column: &'static str, error: FromSqlError) -> StoreError {
    StoreError::Corrupt { column, source: serde_json::Error::custom(error) }
}

impl Columns for Cols<'_, '_> {
    fn str_or_null(&self, column: &'static str) -> Result<Option<&str>> {
        self.get(column)?.as_str_or_null().map_err(|e| odd(column, e))
    }

    fn bytes_or_null(&self, column: &'static str) -> Result<Option<Vec<u8>>> {
        Ok(self.get(column)?.as_blob_or_null().map_err(|e| odd(column, e))?.map(<[u8]>::to_vec))
    }

    fn signed(&self, column: &'static str) -> Result<Option<i64>> {
        self.get(column)?.as_i64_or_null().map_err(|e| odd(column, e))
    }
}
